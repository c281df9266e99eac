// Package docs holds two documents, schema.md and releases.md. Both are written by its test from the files of the steps.
package docs

import (
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"pephub-migrate/internal/migrator"
	"pephub-migrate/internal/schema"
	"pephub-migrate/migrations"
)

var update = flag.Bool("update", false, "write schema.md and releases.md anew, from the files of the steps")

func TestDocs(t *testing.T) {
	steps, err := migrator.Load(migrations.FS)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"schema.md": schemaPage(t, steps), "releases.md": releasesPage(t, steps)} {
		if *update && !t.Failed() {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("%v\nrun: go test ./docs -update", err)
			continue
		}
		if string(have) != want {
			t.Errorf("docs/%s is not what the steps make of it%s\nrun: go test ./docs -update, and read git diff",
				file, firstDifference(string(have), want))
		}
	}
}

// firstDifference says where two different texts part.
func firstDifference(have, want string) string {
	haves, wants := strings.Split(have, "\n"), strings.Split(want, "\n")
	for i := range min(len(haves), len(wants)) {
		if haves[i] != wants[i] {
			return fmt.Sprintf("; line %d is\n\t%s\nand should be\n\t%s", i+1, haves[i], wants[i])
		}
	}
	return fmt.Sprintf("; it has %d lines and should have %d", len(haves), len(wants))
}

// What a shape says of one table.

type table struct {
	name        string
	columns     []column
	keys        []object
	foreignKeys []foreignKey
	indexes     []object
}

type column struct {
	name, kind, fallback string
	nullable             bool
}

type object struct{ name, definition string }

type foreignKey struct {
	name                        string
	columns                     []string
	parent, parentColumns, gone string // gone is what happens to the row when the parent's is deleted
	optional                    bool   // whether there can be a row without a parent
}

// tablesOf returns the tables of a shape by name, each with its parts by name.
func tablesOf(t *testing.T, shape schema.Shape) []table {
	var tables []table
	for _, name := range slices.Sorted(slices.Values(shape.Names("table"))) {
		tables = append(tables, tableOf(t, shape, name))
	}
	return tables
}

func tableOf(t *testing.T, shape schema.Shape, name string) table {
	result := table{name: name}
	// Columns come before constraints, which ask them whether they can be NULL.
	for _, key := range slices.Sorted(maps.Keys(shape)) {
		kind, path, _ := strings.Cut(key, " ")
		owner, part, _ := strings.Cut(path, ".")
		definition := shape[key]
		switch {
		case kind == "table" || kind == "sequence" || kind == "enum" || owner != name:
		case kind == "column":
			result.columns = append(result.columns, columnOf(unquoted(part), definition))
		case kind == "constraint" && strings.HasPrefix(definition, "foreign key "):
			result.foreignKeys = append(result.foreignKeys, result.foreignKeyOf(part, definition))
		case kind == "constraint":
			result.keys = append(result.keys, object{part, definition})
		case kind == "index":
			result.indexes = append(result.indexes, object{part, definition})
		default:
			t.Errorf("%s: docs_test.go does not know what a %s is", key, kind)
		}
	}
	slices.SortFunc(result.columns, func(a, b column) int { // the id first, where a person looks for it
		switch {
		case a.name == "id":
			return -1
		case b.name == "id":
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	return result
}

func columnOf(name, definition string) column {
	definition, fallback, _ := strings.Cut(definition, " default ")
	kind, required := strings.CutSuffix(definition, " not null")
	kind = strings.Replace(kind, "character varying", "varchar", 1)
	kind = strings.Replace(kind, "timestamp with time zone", "timestamptz", 1)
	return column{name, kind, fallback, !required}
}

func (t table) foreignKeyOf(name, definition string) foreignKey {
	_, parent, _ := strings.Cut(definition, " references ")
	parent, rest, _ := strings.Cut(parent, " (")
	parentColumns, rest, _ := strings.Cut(rest, ")")
	_, gone, _ := strings.Cut(rest, " on delete ")
	columns := between(definition)
	return foreignKey{name, columns, parent, parentColumns, cmp.Or(gone, "no action"), t.nullable(columns)}
}

// nullable reports whether one of the columns can be NULL.
func (t table) nullable(columns []string) bool {
	return slices.ContainsFunc(t.columns, func(c column) bool { return c.nullable && slices.Contains(columns, c.name) })
}

// marks returns PK, FK and UK, as far as the column is in such a key, alone or with others.
func (t table) marks(column string) string {
	var marks []string
	for _, key := range t.keys {
		if strings.HasPrefix(key.definition, "primary key ") && slices.Contains(between(key.definition), column) {
			marks = append(marks, "PK")
		}
	}
	for _, key := range t.foreignKeys {
		if slices.Contains(key.columns, column) {
			marks = append(marks, "FK")
		}
	}
	for _, key := range t.keys {
		if strings.HasPrefix(key.definition, "unique ") && slices.Contains(between(key.definition), column) {
			marks = append(marks, "UK")
		}
	}
	return strings.Join(slices.Compact(marks), ", ")
}

// between returns the columns within the first parentheses.
func between(definition string) []string {
	_, list, _ := strings.Cut(definition, "(")
	list, _, _ = strings.Cut(list, ")")
	columns := strings.Split(list, ", ")
	for i, column := range columns {
		columns[i] = unquoted(column)
	}
	return columns
}

// unquoted is for the one column that is named like a keyword: "user".
func unquoted(name string) string { return strings.Trim(name, `"`) }

// What the files of a step say beside its shape.

// header returns one of the first lines of a step's up file, without its label.
func header(t *testing.T, step migrator.Step, label string) string {
	for line := range strings.Lines(read(t, fmt.Sprintf("%06d_%s.up.sql", step.Number, step.Name))) {
		if text, ok := strings.CutPrefix(line, "-- "+label+": "); ok {
			return strings.TrimSpace(text)
		}
	}
	t.Errorf("step %d does not say %q", step.Number, label)
	return ""
}

// entries returns the lines "kind name: definition" of a step's snapshot, by name.
func entries(t *testing.T, step migrator.Step, kind string) []object {
	shape := readShape(t, fmt.Sprintf("%06d_%s.schema.txt", step.Number, step.Name))
	var found []object
	for _, key := range slices.Sorted(maps.Keys(shape)) {
		if name, ok := strings.CutPrefix(key, kind+" "); ok {
			found = append(found, object{name, shape[key]})
		}
	}
	return found
}

func readShape(t *testing.T, file string) schema.Shape {
	shape, err := schema.ParseShape(read(t, file))
	if err != nil {
		t.Fatal(err)
	}
	return shape
}

func read(t *testing.T, file string) string {
	text, err := fs.ReadFile(migrations.FS, file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// schema.md

func schemaPage(t *testing.T, steps migrator.Steps) string {
	newest := steps[len(steps)-1]
	tables := tablesOf(t, newest.Shape)
	checkTexts(t, tables)
	var page strings.Builder
	fmt.Fprintf(&page, "# The schema\n\nThis is the newest schema, that of step %d. `go test ./docs -update` writes this page "+
		"from the files in [migrations](../migrations); a test fails if it is not up to date.\n\n", newest.Number)
	page.WriteString("[releases.md](releases.md) tells how it came about. " +
		"[schema.sql](../migrations/schema.sql) is the same as SQL.\n\n")
	page.WriteString(diagram(tables))
	for _, table := range tables {
		page.WriteString(tableSection(table))
	}
	page.WriteString(enumSection(newest.Shape))
	page.WriteString(versionSection(steps))
	page.WriteString(archiveSection(t, steps))
	return page.String()
}

// checkTexts finds the tables without a sentence, and the sentences without a table or a column.
func checkTexts(t *testing.T, tables []table) {
	texts, meanings := tableTexts(), columnTexts()
	for _, table := range tables {
		if texts[table.name] == "" {
			t.Errorf("tableTexts in docs_test.go has no sentence for the table %s", table.name)
		}
		delete(texts, table.name)
		for _, column := range table.columns {
			delete(meanings, table.name+"."+column.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		t.Errorf("tableTexts in docs_test.go speaks of %s, which is no table of the newest step", name)
	}
	for _, name := range slices.Sorted(maps.Keys(meanings)) {
		t.Errorf("columnTexts in docs_test.go speaks of %s, which is no column of the newest step", name)
	}
}

// diagram draws the tables and their foreign keys. Mermaid takes a type of one word only.
func diagram(tables []table) string {
	var text strings.Builder
	text.WriteString("```mermaid\nerDiagram\n")
	for _, table := range tables {
		fmt.Fprintf(&text, "    %s {\n", table.name)
		for _, column := range table.columns {
			line := strings.ReplaceAll(column.kind, " ", "_") + " " + column.name + " " + table.marks(column.name)
			fmt.Fprintf(&text, "        %s\n", strings.TrimSpace(line))
		}
		text.WriteString("    }\n")
	}
	for _, table := range tables {
		for _, key := range table.foreignKeys {
			parent := "||"
			if key.optional {
				parent = "|o"
			}
			fmt.Fprintf(&text, "    %s %s--o{ %s : \"%s, %s\"\n",
				key.parent, parent, table.name, strings.Join(key.columns, " "), key.gone)
		}
	}
	text.WriteString("```\n\nPK, FK and UK stand at every column of a primary, foreign or unique key, also where it is one of several. " +
		"A line says which column refers to the other table, and what happens to the row when the other is deleted.\n")
	return text.String()
}

func tableSection(table table) string {
	meanings := columnTexts()
	var text strings.Builder
	fmt.Fprintf(&text, "\n## %s\n\n%s\n\n", table.name, tableTexts()[table.name])
	text.WriteString(row("column", "type", "null?", "default", "meaning") + row("---", "---", "---", "---", "---"))
	for _, column := range table.columns {
		null := ""
		if column.nullable {
			null = "yes"
		}
		text.WriteString(row(code(column.name), column.kind, null, code(column.fallback), meanings[table.name+"."+column.name]))
	}
	text.WriteString("\nKeys:\n\n")
	for _, key := range table.keys {
		fmt.Fprintf(&text, "- `%s`: %s\n", key.name, key.definition)
	}
	if len(table.foreignKeys) > 0 {
		text.WriteString("\nForeign keys:\n\n")
	}
	for _, key := range table.foreignKeys {
		fmt.Fprintf(&text, "- `%s`: %s references [%s](#%[3]s) (%s), on delete %s\n",
			key.name, strings.Join(key.columns, ", "), key.parent, key.parentColumns, key.gone)
	}
	if len(table.indexes) > 0 {
		text.WriteString("\nIndexes, besides those of the keys:\n\n")
	}
	for _, index := range table.indexes {
		fmt.Fprintf(&text, "- `%s`: %s\n", index.name, index.definition)
	}
	return text.String()
}

func enumSection(shape schema.Shape) string {
	var text strings.Builder
	text.WriteString("\n## Types\n\n" + row("type", "values") + row("---", "---"))
	for _, name := range slices.Sorted(slices.Values(shape.Names("enum"))) {
		text.WriteString(row(code(name), shape["enum "+name]))
	}
	return text.String()
}

func versionSection(steps migrator.Steps) string {
	newest := steps[len(steps)-1]
	var text strings.Builder
	text.WriteString("\n## Version tables and archives\n\nThese are not part of the shape by which a database is recognised.\n")
	fmt.Fprintf(&text, "\n### schema_migrations\n\nThe version as golang-migrate keeps it, in one row. `version` (bigint, primary key) "+
		"is the step, now %d. `dirty` (boolean) is always false, since a run is one transaction. "+
		"The comment of the table is `pephub-migrate: oldest_step=%d`: the oldest step whose applications can work on this schema. "+
		"An older image goes by it.\n", newest.Number, newest.Oldest)
	text.WriteString("\n### alembic_version\n\nThe version as Alembic keeps it, in one row: " +
		"`version_num` (varchar(32), primary key). A pepdbagent that is started with `run_migrations=True` finds nothing to do. " +
		"At a step that is older than Alembic, the table is empty or not there.\n\n")
	text.WriteString(row("step", "revision") + row("---:", "---"))
	for _, step := range steps {
		if step.Revision != "" {
			text.WriteString(row(fmt.Sprint(step.Number), code(step.Revision)))
		}
	}
	return text.String()
}

func archiveSection(t *testing.T, steps migrator.Steps) string {
	texts := archiveTexts()
	var text strings.Builder
	text.WriteString("\n### Archives\n\nWhat a step has no place for goes to a table `archived_…`. " +
		"A step makes one only if there is something to keep, and pepdbagent never looks at it. " +
		"`project_id` is `projects.id`, without a foreign key. " +
		"Undoing the step gives back what is in its archive and drops the archive, but for what could not be given back. " +
		"An archive that is there already stays, with the time of the run added to its name.\n\n")
	text.WriteString(row("table", "made by step", "from", "what it holds", "columns") + row("---", "---:", "---", "---", "---"))
	for _, step := range steps {
		for _, archive := range entries(t, step, "archive") {
			if texts[archive.name] == "" {
				t.Errorf("archiveTexts in docs_test.go has no sentence for %s", archive.name)
			}
			holds, columns, _ := strings.Cut(texts[archive.name], ": ")
			text.WriteString(row(code(archive.name), fmt.Sprint(step.Number), code(archive.definition), holds, columns))
			delete(texts, archive.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		t.Errorf("archiveTexts in docs_test.go speaks of %s, which no step makes", name)
	}
	return text.String()
}

// row is one row of a Markdown table.
func row(cells ...string) string {
	text := "|"
	for _, cell := range cells {
		text += " " + strings.ReplaceAll(cell, "|", `\|`) + " |"
	}
	return text + "\n"
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// releases.md

func releasesPage(t *testing.T, steps migrator.Steps) string {
	var page strings.Builder
	page.WriteString("# The steps\n\nEvery step leads from one release's schema to the next. `go test ./docs -update` writes this page " +
		"from the files in [migrations](../migrations); a test fails if it is not up to date.\n\n" +
		"[schema.md](schema.md) describes the newest schema, and what the [archives](schema.md#archives) hold.\n\n" +
		row("step", "name", "made by", "Alembic revision", "tables") + row("---:", "---", "---", "---", "---:"))
	for _, step := range steps {
		name := fmt.Sprintf("[%s](#step-%d-%[1]s)", step.Name, step.Number)
		release := strings.TrimSuffix(step.Release, ".")
		page.WriteString(row(fmt.Sprint(step.Number), name, release, code(step.Revision), fmt.Sprint(len(step.Shape.Names("table")))))
	}
	page.WriteString("\nThe locks are the strongest that a step may take, depending on what it finds. They are held until the commit. " +
		"ACCESS EXCLUSIVE keeps readers and writers away, SHARE and SHARE ROW EXCLUSIVE only writers.\n\n" +
		"A variant is another shape that is known to mean the same schema.\n")
	previous := schema.Shape{}
	for _, step := range steps {
		page.WriteString(stepSection(t, step, previous))
		previous = step.Shape
	}
	return page.String()
}

func stepSection(t *testing.T, step migrator.Step, previous schema.Shape) string {
	var text strings.Builder
	fmt.Fprintf(&text, "\n## Step %d: %s\n\n%s\n\n", step.Number, step.Name, header(t, step, "Release"))
	fmt.Fprintf(&text, "- **Existing data:** %s\n", header(t, step, "Data"))
	fmt.Fprintf(&text, "- **Undoing it:** %s\n", header(t, step, "Undo"))
	fmt.Fprintf(&text, "- **Locks:** %s\n", locks(entries(t, step, "lock")))
	if step.Oldest < step.Number {
		fmt.Fprintf(&text, "- **Older applications:** those of step %d and newer can work on it.\n", step.Oldest)
	}
	for _, archive := range entries(t, step, "archive") {
		fmt.Fprintf(&text, "- **Archive:** `%s`, from `%s`.\n", archive.name, archive.definition)
	}
	text.WriteString(details("The shape, compared with the step before", previous, step.Shape))
	variants, err := fs.Glob(migrations.FS, fmt.Sprintf("%06d_%s.*.schema.txt", step.Number, step.Name))
	if err != nil || len(variants) != len(step.Variants) {
		t.Fatalf("step %d has %d variants, in the files %q: %v", step.Number, len(step.Variants), variants, err)
	}
	for i, file := range variants { // Load reads them in this order too
		text.WriteString(details("The variant <code>"+file+"</code>, compared with the step", step.Shape, step.Variants[i]))
	}
	return text.String()
}

// locks says which tables are locked, by mode.
func locks(locks []object) string {
	tables := map[string][]string{}
	for _, lock := range locks {
		tables[lock.definition] = append(tables[lock.definition], code(lock.name))
	}
	var modes []string
	for _, mode := range slices.Sorted(maps.Keys(tables)) {
		modes = append(modes, mode+" on "+strings.Join(tables[mode], ", "))
	}
	return cmp.Or(strings.Join(modes, "; "), "none") + "."
}

// details is a difference that a reader can unfold.
func details(summary string, from, to schema.Shape) string {
	return "\n<details>\n<summary>" + summary + "</summary>\n\n```diff\n" + difference(from, to) + "```\n\n</details>\n"
}

// difference has a line for each object that goes or comes, and two for one that changes. Unlike Shape.Diff it shows indexes
// that are too many.
func difference(from, to schema.Shape) string {
	objects := maps.Clone(from)
	maps.Copy(objects, to)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		old, had := from[name]
		now, has := to[name]
		if had && (!has || old != now) {
			text.WriteString("- " + schema.Shape{name: old}.String())
		}
		if has && (!had || old != now) {
			text.WriteString("+ " + schema.Shape{name: now}.String())
		}
	}
	return text.String()
}

// The texts

// tableTexts says what a row of each table is.
func tableTexts() map[string]string {
	return map[string]string{
		"bedbase_stats":      "A row is a sample of GEO for the statistics of BEDbase. It refers to no other table.",
		"namespace_archives": "A row is a file that holds the projects of a namespace.",
		"project_history":    "A row is a change to the samples of a project. It keeps the config as it was before.",
		"projects":           "A row is a project (a PEP): its config, and what is known about it. It is called `namespace/name:tag`.",
		"sample_history":     "A row is what a change did to one sample. Going back from the newest change leads to an older state of the project.",
		"samples":            "A row is a sample of a project. The samples of a project are a linked list; their ids say nothing about the order.",
		"schema_records":     "A row is a schema, with what holds for all its versions. It needs at least one: pepdbagent cannot list schemas while one has none.",
		"schema_tags":        "A row is a tag on one version of a schema.",
		"schema_versions":    "A row is one version of a schema.",
		"stars":              "A row is a project that a user has among the favourites.",
		"subsamples":         "A row is one row of a subsample table; a project may have several such tables.",
		"users":              "A row is a namespace: a person or an organisation.",
		"views":              "A row is a selection of the samples of a project, under a name.",
		"views_samples":      "A row is a sample in a view.",
	}
}

// columnTexts says what a column means, where its name does not.
func columnTexts() map[string]string {
	return map[string]string{
		"bedbase_stats.gse":                "accession of the series in GEO",
		"bedbase_stats.gsm":                "accession of the sample in GEO",
		"bedbase_stats.last_update_date":   "text, as pepdbagent has it",
		"bedbase_stats.submission_date":    "text, as pepdbagent has it",
		"project_history.project_yaml":     "the config before the change",
		"project_history.update_time":      "older states are found by going back through it, newest first",
		"project_history.user":             "who made the change, as a namespace. Deleting a user who changed somebody else's project fails, since NULL is not allowed: it is so in every release of pepdbagent",
		"projects.config":                  "`name` in it must equal the column `name`: pepdbagent renames a project after its config when it saves it",
		"projects.digest":                  "a hash of the project's content, which is only displayed",
		"projects.forked_from_id":          "the project that this one is a copy of",
		"projects.number_of_samples":       "a counter that the application keeps",
		"projects.number_of_stars":         "a counter that the application keeps",
		"projects.pop":                     "whether it is a PEP of PEPs, each sample of which is a project",
		"projects.schema_id":               "the version of a schema that the project follows, not the record",
		"sample_history.change_type":       "what the change did to the sample",
		"sample_history.guid":              "`samples.guid`, without a foreign key: the sample may be gone",
		"sample_history.parent_guid":       "`samples.parent_guid` before an UPDATE or a DELETE",
		"sample_history.sample_json":       "the sample before an UPDATE or a DELETE",
		"samples.guid":                     "a UUID, by which the list and the history know the sample",
		"samples.parent_guid":              "the sample before this one in the list; NULL for the first, of which a project has one. Deleting a row by SQL deletes all that follow it",
		"samples.sample":                   "the sample itself: its attributes and their values",
		"samples.sample_name":              "the name that `sample` holds, to look it up; NULL if it holds none",
		"schema_records.last_update_date":  "pepdbagent cannot read a NULL",
		"schema_records.lifecycle_stage":   "free text",
		"schema_records.maintainers":       "free text",
		"schema_tags.tag_name":             "`group:<namespace>/<name>` was a group of schemas before 0.12",
		"schema_tags.tag_value":            "the description of the group, if it was one",
		"schema_versions.contributors":     "free text",
		"schema_versions.last_update_date": "pepdbagent cannot read a NULL",
		"schema_versions.schema_id":        "the schema, as a record",
		"schema_versions.schema_value":     "the schema itself",
		"schema_versions.version":          "text without `:` and `/`, and not `latest`. `1.0.0` for a schema from before 0.12. The latest is the last in the order of text: `9.0.0` rather than `10.0.0`",
		"stars.star_date":                  "favourites are listed by it, newest first",
		"subsamples.row_number":            "the place in its table. pepdbagent does not sort by it: it reads rows as they lie on disk",
		"subsamples.subsample":             "the row itself: its attributes and their values",
		"subsamples.subsample_number":      "which of the project's tables, from 0",
		"users.namespace":                  "the name that other tables refer to",
		"users.number_of_projects":         "a counter that the application keeps",
		"users.number_of_schemas":          "a counter that the application keeps. Alembic's own upgrade leaves NULLs, on which pepdbagent fails; the steps count",
		"views.name":                       "nothing keeps it unique within a project",
	}
}

// archiveTexts says what each archive holds, and in which columns.
func archiveTexts() map[string]string {
	return map[string]string{
		"archived_project_anno_info":      "`anno_info` of every project, beside what was read from it: project_id, anno_info, private, number_of_samples, last_update_date",
		"archived_project_config_names":   "the name in a config that was not the project's: project_id, name, project_name",
		"archived_project_names":          "namespace and name before they became lower case: project_id, namespace, name",
		"archived_project_pep_schemas":    "the text that named the schema of a project before 0.12, beside the link: project_id, pep_schema, schema_id",
		"archived_project_values":         "the whole document of a project that held more than config, samples and subsamples; `lossy` where undoing cannot give it back: project_id, project_value, project_name, lossy",
		"archived_schema_group_relations": "which schema was in which group: schema_id, group_id",
		"archived_schema_groups":          "the groups of schemas, also those without a member: id, namespace, name, description",
	}
}
