// Package docs holds two documents, schema.md and releases.md. Both are written by its
// test from the files of the steps, and from what texts.txt says that no step can: what a
// table's row is, what a column means where its name does not tell, and what an archive
// holds, and in which columns.
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

// marks returns PK, FK and UK, as far as the column is in such a key, alone or with
// others.
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
	tables, texts := tablesOf(t, newest.Shape), readTexts(t, steps)
	var page strings.Builder
	fmt.Fprintf(&page, "# The schema\n\nThis is the newest schema, that of step %d. `go test ./docs -update` writes this page "+
		"from the files in [migrations](../migrations); a test fails if it is not up to date.\n\n", newest.Number)
	page.WriteString("[releases.md](releases.md) tells how it came about. " +
		"[schema.sql](../migrations/schema.sql) is the same as SQL.\n\n")
	page.WriteString(diagram(tables))
	for _, table := range tables {
		page.WriteString(tableSection(table, texts))
	}
	page.WriteString(enumSection(newest.Shape))
	page.WriteString(versionSection(steps))
	page.WriteString(archiveSection(t, steps, texts))
	return page.String()
}

// readTexts returns the texts by what they are about, and finds what has none, and what
// is no more.
func readTexts(t *testing.T, steps migrator.Steps) schema.Shape {
	content, err := os.ReadFile("texts.txt")
	if err != nil {
		t.Fatal(err)
	}
	texts, err := schema.ParseShape(string(content))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	need := func(object, what string) {
		known[object] = true
		if texts[object] == "" || strings.Contains(texts[object], "TODO") {
			t.Errorf("docs/texts.txt needs a line: %s: <%s>", object, what)
		}
	}
	for _, table := range tablesOf(t, steps[len(steps)-1].Shape) {
		need("table "+table.name, "what a row of it is")
		for _, column := range table.columns { // most speak for themselves
			known["column "+table.name+"."+column.name] = true
		}
	}
	for _, step := range steps {
		for _, archive := range entries(t, step, "archive") {
			need("archive "+archive.name, "what it holds: its columns")
		}
	}
	for _, object := range slices.Sorted(maps.Keys(texts)) {
		if !known[object] {
			t.Errorf("take the line of %s out of docs/texts.txt: the newest step has none", object)
		}
	}
	return texts
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

func tableSection(table table, texts schema.Shape) string {
	var text strings.Builder
	fmt.Fprintf(&text, "\n## %s\n\n%s\n\n", table.name, texts["table "+table.name])
	text.WriteString(row("column", "type", "null?", "default", "meaning") + row("---", "---", "---", "---", "---"))
	for _, column := range table.columns {
		null := ""
		if column.nullable {
			null = "yes"
		}
		text.WriteString(row(code(column.name), column.kind, null, code(column.fallback), texts["column "+table.name+"."+column.name]))
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

func archiveSection(t *testing.T, steps migrator.Steps, texts schema.Shape) string {
	var text strings.Builder
	text.WriteString("\n### Archives\n\nWhat a step has no place for goes to a table `archived_…`. " +
		"A step makes one only if there is something to keep, and pepdbagent never looks at it. " +
		"`project_id` is `projects.id`, without a foreign key. " +
		"Undoing the step gives back what is in its archive and drops the archive, but for what could not be given back. " +
		"An archive that is there already stays, with the time of the run added to its name.\n\n")
	text.WriteString(row("table", "made by step", "from", "what it holds", "columns") + row("---", "---:", "---", "---", "---"))
	for _, step := range steps {
		for _, archive := range entries(t, step, "archive") {
			holds, columns, _ := strings.Cut(texts["archive "+archive.name], ": ")
			text.WriteString(row(code(archive.name), fmt.Sprint(step.Number), code(archive.definition), holds, columns))
		}
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

// difference has a line for each object that goes or comes, and two for one that changes.
// Unlike Shape.Diff it shows indexes that are too many.
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
