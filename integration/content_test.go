package integration

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// content renders everything that a PEPhub database holds, one line a fact, in terms that all releases from 0.9 on
// share. A value is written as PostgreSQL writes it within a row, so that NULL and an empty text differ; json is text.
func content(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	var statements []string
	for _, part := range []struct{ table, sql string }{
		{"projects", contentOfProjects},
		{"project_history", contentOfHistory},
		{"namespace_archives", contentOfArchives},
		{"schemas", contentOfSchemas11},
		{"schema_records", contentOfSchemas12},
		{"archived_schema_groups", contentOfGroups12},
	} {
		if has(t, conn, part.table) {
			statements = append(statements, part.sql)
		}
	}
	var lines []string
	for _, sql := range statements {
		lines = append(lines, query(t, conn, sql)...)
	}
	return strings.Join(lines, "\n")
}

func has(t *testing.T, conn *pgx.Conn, table string) bool {
	return query(t, conn, "SELECT to_regclass('"+table+"') IS NOT NULL")[0] == "t"
}

const contentOfProjects = `
WITH RECURSIVE chain AS (
    SELECT samples.*, 1 AS position FROM samples WHERE parent_guid IS NULL
    UNION ALL
    SELECT s.*, c.position + 1 FROM samples AS s JOIN chain AS c ON s.parent_guid = c.guid
)
SELECT 'user ' || (id, namespace, number_of_projects)::text AS line FROM users
UNION ALL
SELECT 'project ' || (id, namespace, name, tag, digest, description, config::text, private, number_of_samples,
    number_of_stars, submission_date, last_update_date, pop, forked_from_id)::text
FROM projects
UNION ALL
SELECT 'sample ' || (project_id, position, id, sample_name, guid, sample::text, submission_date, last_update_date)::text
FROM chain
UNION ALL
SELECT 'samples ' || count(*) FROM samples
UNION ALL
SELECT 'subsample '
    || (project_id, row_number() OVER (ORDER BY ctid), id, subsample_number, row_number, subsample::text)::text
FROM subsamples
UNION ALL
SELECT 'star ' || (user_id, project_id, star_date)::text FROM stars
UNION ALL
SELECT 'view ' || (v.id, v.name, v.project_id, v.description,
    (SELECT array_agg(m.sample_id ORDER BY m.sample_id) FROM views_samples AS m WHERE m.view_id = v.id))::text
FROM views AS v
UNION ALL
SELECT 'sequences ' || (
    (SELECT last_value FROM users_id_seq), (SELECT last_value FROM projects_id_seq),
    (SELECT last_value FROM samples_id_seq), (SELECT last_value FROM subsamples_id_seq),
    (SELECT last_value FROM views_id_seq)
)::text
ORDER BY 1`

const contentOfHistory = `
SELECT 'history ' || (id, project_id, "user", update_time, project_yaml::text)::text AS line FROM project_history
UNION ALL
SELECT 'change ' || (id, history_id, guid, parent_guid, sample_json::text, change_type)::text FROM sample_history
UNION ALL
SELECT 'history sequences '
    || ((SELECT last_value FROM project_history_id_seq), (SELECT last_value FROM sample_history_id_seq))::text
ORDER BY 1`

const contentOfArchives = `
SELECT 'archive ' || (id, namespace, file_path, creation_date, number_of_projects, file_size)::text AS line
FROM namespace_archives
UNION ALL
SELECT 'bedbase ' || (id, gse, gsm, sample_name, genome, last_update_date, submission_date)::text FROM bedbase_stats
ORDER BY 1`

// A schema that was never updated counts as updated when it was submitted: pepdbagent 0.12 needs a date.
const contentOfSchemas11 = `
SELECT 'schema ' || (id, namespace, name, description, schema_json::text, private, submission_date,
    coalesce(last_update_date, submission_date))::text AS line
FROM schemas
UNION ALL
SELECT 'group ' || (g.id, g.namespace, g.name, g.description,
    (SELECT array_agg(m.schema_id ORDER BY m.schema_id) FROM schema_group_relations AS m WHERE m.group_id = g.id))::text
FROM schema_groups AS g
UNION ALL
SELECT 'link ' || (p.id, s.namespace, s.name)::text FROM projects AS p JOIN schemas AS s ON s.id = p.schema_id
UNION ALL
SELECT 'schema text ' || (id, pep_schema)::text FROM projects WHERE pep_schema IS NOT NULL
ORDER BY 1`

const contentOfSchemas12 = `
SELECT 'schema ' || (r.id, r.namespace, r.name, r.description, v.schema_value::text, r.private, v.release_date,
    r.last_update_date)::text AS line
FROM schema_records AS r
JOIN schema_versions AS v ON v.schema_id = r.id
UNION ALL
SELECT 'link ' || (p.id, r.namespace, r.name)::text
FROM projects AS p
JOIN schema_versions AS v ON v.id = p.schema_id
JOIN schema_records AS r ON r.id = v.schema_id
ORDER BY 1`

const contentOfGroups12 = `
SELECT 'group ' || (g.id, g.namespace, g.name, g.description,
    (SELECT array_agg(m.schema_id ORDER BY m.schema_id) FROM archived_schema_group_relations AS m
    WHERE m.group_id = g.id))::text AS line
FROM archived_schema_groups AS g
UNION ALL
SELECT 'schema text ' || (project_id, pep_schema)::text FROM archived_project_pep_schemas
ORDER BY 1`

// diff returns the lines that only one of two contents has, for a test's message.
func diff(before, after string) string {
	only := func(a, b, sign string) []string {
		known := map[string]bool{}
		for line := range strings.SplitSeq(b, "\n") {
			known[line] = true
		}
		var lines []string
		for line := range strings.SplitSeq(a, "\n") {
			if !known[line] {
				lines = append(lines, sign+line)
			}
		}
		return lines
	}
	return strings.Join(append(only(before, after, "- "), only(after, before, "+ ")...), "\n")
}

// sameContent fails the test unless the two contents differ in exactly the lines that the upgrade is meant to change,
// written as diff writes them.
func sameContent(t *testing.T, before, after string, changes ...string) {
	t.Helper()
	if got, want := diff(before, after), strings.Join(changes, "\n"); got != want {
		t.Errorf("the content is not what it should be; got these changes:\n%s\nwant:\n%s", got, want)
	}
}
