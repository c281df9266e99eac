package integration

import "strings"

// addSchemas says schemas as 0.12 has them: a record, its versions, their tags.
func (r *contentReader) addSchemas() {
	r.content.kind("text of schema", "link")
	switch {
	case r.has("schema_records.id"):
		r.addRecords()
	case r.has("schemas.id"):
		r.addSchemas11()
	default:
		for _, p := range r.projects {
			r.addText(p)
		}
		delete(r.content, "link") // the text may name a schema that is yet to come
	}
	r.addArchived("text of schema", "archived_project_pep_schemas", "project_id, pep_schema")
}

func (r *contentReader) addText(p *oneProject) {
	if p.pepSchema != null {
		r.content.add("text of schema", p.id, p.pepSchema)
	}
}

func (r *contentReader) addRecords() {
	c := r.content
	c.kind("schema", "version", "tag", "group", "number of schemas")
	for _, row := range rows(r.t, r.conn, `
		SELECT namespace || '/' || name, id, private, maintainers, lifecycle_stage, description, last_update_date
		FROM schema_records`) {
		c.add("schema", row[0], row[1], row[2], quoted(row[3]), quoted(row[4]), quoted(row[5]), row[6])
	}
	versions := map[string]string{}
	for _, row := range rows(r.t, r.conn, `
		SELECT r.namespace || '/' || r.name || ':' || v.version, v.id, v.schema_value, v.release_date, v.last_update_date,
			v.contributors, v.release_notes
		FROM schema_versions AS v
		JOIN schema_records AS r ON r.id = v.schema_id`) {
		c.add("version", row[0], row[1], row[2], row[3], row[4], quoted(row[5]), quoted(row[6]))
		versions[row[1]] = row[0]
	}
	for _, row := range rows(r.t, r.conn, "SELECT schema_version_id, tag_name, tag_value FROM schema_tags") {
		c.add("tag", versions[row[0]], row[1], quoted(row[2]))
	}
	for _, p := range r.projects {
		if p.schemaID != null {
			c.add("link", p.key(), versions[p.schemaID])
		}
	}
	counted := "number_of_schemas"
	if !r.has("users.number_of_schemas") {
		counted = "NULL"
	}
	for _, row := range rows(r.t, r.conn, `
		SELECT namespace, coalesce(`+counted+`,
			(SELECT count(*) FROM schema_records AS r WHERE r.namespace = u.namespace))
		FROM users AS u`) {
		c.add("number of schemas", row[0], row[1])
	}
	if r.has("archived_schema_groups.id") {
		r.addGroups("archived_schema_groups", "archived_schema_group_relations")
	}
}

// addSchemas11 says the schemas of 0.11 as the first version of a record, and groups as
// tags.
func (r *contentReader) addSchemas11() {
	c := r.content
	c.kind("schema", "version", "tag", "group", "number of schemas")
	paths := map[string]string{} // by id
	made := map[string]string{}  // dates by path
	for _, row := range rows(r.t, r.conn, `
		SELECT namespace || '/' || name, id, private, description, submission_date,
			coalesce(last_update_date, submission_date), schema_json
		FROM schemas`) {
		c.add("schema", row[0], row[1], row[2], `""`, `""`, quoted(row[3]), row[5])
		c.add("version", row[0]+":1.0.0", row[1], row[6], row[4], row[5], `""`, `""`)
		paths[row[1]] = row[0]
		if _, twice := made[row[0]]; twice {
			row[4] = "which of them"
		}
		made[row[0]] = row[4]
	}
	for _, row := range rows(r.t, r.conn, `
		SELECT m.schema_id, 'group:' || g.namespace || '/' || g.name, g.description
		FROM schema_group_relations AS m
		JOIN schema_groups AS g ON g.id = m.group_id`) {
		c.add("tag", paths[row[0]]+":1.0.0", row[1], quoted(row[2]))
	}
	for _, p := range r.projects {
		r.addText(p)
		switch {
		case p.schemaID != null:
			c.add("link", p.key(), paths[p.schemaID]+":1.0.0")
		case made[p.pepSchema] != "" && made[p.pepSchema] <= p.touched(): // a fork made by 0.11 has the text alone
			c.add("link", p.key(), p.pepSchema+":1.0.0")
		}
	}
	for _, row := range rows(r.t, r.conn, `
		SELECT namespace, (SELECT count(*) FROM schemas AS s WHERE s.namespace = u.namespace) FROM users AS u`) {
		c.add("number of schemas", row[0], row[1])
	}
	r.addGroups("schema_groups", "schema_group_relations")
}

// touched is the date of the last update of a project. Dates of one zone are in the order
// of their texts.
func (p *oneProject) touched() string {
	if p.updated == null {
		return p.submitted
	}
	return p.updated
}

func (r *contentReader) addGroups(groups, relations string) {
	members := "NULL"
	if r.has(relations + ".group_id") {
		members = strings.ReplaceAll(
			"(SELECT array_agg(m.schema_id ORDER BY m.schema_id) FROM relations AS m WHERE m.group_id = g.id)", "relations", relations)
	}
	for _, row := range rows(r.t, r.conn, "SELECT id, namespace, name, description, "+members+" FROM "+groups+" AS g") {
		r.content.add("group", row[0], row[1], quoted(row[2]), quoted(row[3]), row[4])
	}
}
