package integration

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// releases are the releases whose tables differ, by their files in testdata. The first
// makes the tables of step 1.
var releases = []string{
	"0.2.3", "0.3.0", "0.4.0-init", "0.4.1", "0.4.2", "0.4.3", "0.6.0", "0.7.0", "0.8.0", "0.9.0", "0.10.0", "0.11.0",
	"0.11.1", "0.12.3",
}

// generator writes the rows of a random database as SQL: what pepdbagent could have
// written, and what people could.
type generator struct {
	*rand.Rand
	step    int  // whose tables the rows are for
	jsonb   bool // whether the rows are to hold nothing that jsonb cannot
	sql     strings.Builder
	ids     map[string]int // the last id of each table
	users   []string
	owned   map[string]bool // names that are taken
	samples map[int][]int   // the ids of the samples of each project
}

// generate returns the rows of a random database, for the tables of a step. They can be
// taken back as far as to the step lowest, which has jsonb before step 5.
func generate(step int, seed uint64, lowest int) string {
	g := &generator{
		Rand: rand.New(rand.NewPCG(seed, uint64(step))), step: step, jsonb: lowest < 5,
		ids: map[string]int{}, owned: map[string]bool{}, samples: map[int][]int{},
	}
	g.makeUsers()
	for range g.IntN(9) {
		g.makeProject()
	}
	if step >= 7 && g.oneIn(3) {
		g.makeOrphan()
	}
	if step >= 8 {
		g.makeForks()
		g.makeStars()
		g.makeViews()
	}
	if step >= 11 {
		g.makeHistory()
	}
	switch {
	case step >= 14:
		g.makeRecords()
	case step >= 12:
		g.makeSchemas()
	case step >= 3:
		g.update("projects", "pep_schema", func() any { return g.one(nil, nil, "pep/2.1.0", "", "bulker/manifest") })
	}
	if step >= 13 {
		g.makeArchives()
	}
	for _, table := range slices.Sorted(maps.Keys(g.ids)) {
		fmt.Fprintf(&g.sql, "SELECT setval('%s_id_seq', %d);\n", table, g.ids[table]+g.IntN(3))
	}
	return g.sql.String()
}

// insert writes a row. A nil is NULL; the columns are named as in SQL, separated by
// commas.
func (g *generator) insert(table, columns string, values ...any) {
	var literals []string
	for _, value := range values {
		literals = append(literals, literal(value))
	}
	fmt.Fprintf(&g.sql, "INSERT INTO %s (%s) VALUES (%s);\n", table, columns, strings.Join(literals, ", "))
}

// update gives a column of every row written so far a value of its own.
func (g *generator) update(table, column string, value func() any) {
	for id := range g.ids[table] {
		fmt.Fprintf(&g.sql, "UPDATE %s SET %s = %s WHERE id = %d;\n", table, column, literal(value()), id+1)
	}
}

func literal(value any) string {
	switch value := value.(type) {
	case nil:
		return "NULL"
	case string:
		return "'" + strings.ReplaceAll(value, "'", "''") + "'"
	default:
		return fmt.Sprint(value)
	}
}

// id returns the next id of a table; now and then one is left out, as a deleted row
// leaves it.
func (g *generator) id(table string) int {
	g.ids[table] += 1 + g.IntN(3)/2
	return g.ids[table]
}

func (g *generator) one(choices ...any) any { return choices[g.IntN(len(choices))] }

func (g *generator) oneIn(n int) bool { return g.IntN(n) == 0 }

func (g *generator) date() string {
	return fmt.Sprintf("%d-%02d-%02d %02d:%02d:%02d.%06d", 2022+g.IntN(4), 1+g.IntN(12), 1+g.IntN(28), g.IntN(24), g.IntN(60),
		g.IntN(60), g.IntN(1_000_000)*g.IntN(2))
}

// text is any text that a column can hold.
func (g *generator) text() string {
	pieces := []string{
		"a", "B", "7", " ", "é", "☃", "𝒫", "'", `"`, `\`, `\u0041`, "/", "\x7f", "\x7fu", "\x7fescape\x7f", "%s", "$1", "$$",
		"{", "}", "[", ",", ":", "\n", "\t", "--", ";", "null",
	}
	var text strings.Builder
	for range g.IntN(5) {
		text.WriteString(pieces[g.IntN(len(pieces))])
	}
	return text.String()
}

// word is a text that can be part of a name.
func (g *generator) word() string {
	return g.one("pep", "geo", "gse1", "a-b_c", "näme", "x.y", "n 1", "日本", "42").(string) + strconv.Itoa(g.IntN(5))
}

// jsonText is a JSON string; what jsonb cannot hold is left out of a document that is
// jsonb.
func (g *generator) jsonText() string {
	text := encode(g.text())
	if g.oneIn(4) {
		text = `"\u00e9\ud83d\ude00` + text[1:]
	}
	if g.oneIn(4) && !g.jsonb {
		text = g.one(`"\u0000`, `"\ud800 `, `"\udc00`, `"\\u0000\u0000`).(string) + text[1:]
	}
	return text
}

// json is any JSON value, not nested deeper than depth.
func (g *generator) json(depth int) string {
	switch n := g.IntN(12); {
	case n < 5 || depth == 0 && n < 8:
		return g.jsonText()
	case n < 8:
		var members []string
		for range g.IntN(4) {
			members = append(members, g.jsonText()+": "+g.json(depth-1))
		}
		if n == 7 {
			return "[" + strings.Join(g.elements(depth), ", ") + "]"
		}
		return "{" + strings.Join(members, ", ") + "}"
	default:
		return g.one("null", "true", "0", "1.0", "-0.0", "1e-07", "12345678901234567890123", "9007199254740993").(string)
	}
}

func (g *generator) elements(depth int) []string {
	var list []string
	for range g.IntN(4) {
		list = append(list, g.json(depth-1))
	}
	return list
}

func (g *generator) makeUsers() {
	for range 1 + g.IntN(4) {
		name := g.word()
		if g.oneIn(3) {
			name = strings.ToUpper(name)
		}
		if !g.owned[name] && !(g.step < 3 && g.owned[strings.ToLower(name)]) {
			g.users = append(g.users, name)
			g.owned[name], g.owned[strings.ToLower(name)] = true, true
		}
	}
	if g.step < 8 {
		return
	}
	for _, user := range g.users {
		switch {
		case g.step >= 14:
			g.insert("users", "id, namespace, number_of_projects, number_of_schemas", g.id("users"), user, 0, 0)
		case g.step >= 10:
			g.insert("users", "id, namespace, number_of_projects", g.id("users"), user, 0)
		case g.oneIn(4): // nobody keeps the namespace unique
			g.insert("users", "id, namespace", g.id("users"), user)
			fallthrough
		case g.oneIn(2):
			g.insert("users", "id, namespace", g.id("users"), user)
		}
	}
}

// makeProject writes a project with its samples, in a document or in rows.
func (g *generator) makeProject() {
	namespace, name := g.users[g.IntN(len(g.users))], g.word()
	tag := g.one("default", "Default", "v1", "ü", "").(string)
	full := strings.ToLower(namespace+"/"+name) + ":" + tag
	if g.owned[full] {
		return
	}
	g.owned[full] = true
	if g.step < 3 && g.oneIn(3) {
		name = strings.ToUpper(name)
	}
	if g.step < 7 {
		g.makeDocument(namespace, name, tag)
		return
	}
	id := g.id("projects")
	columns := "id, namespace, name, tag, digest, description, config, private, number_of_samples, submission_date, last_update_date"
	values := []any{
		id, namespace, name, tag, fmt.Sprintf("%032x", id), g.one(nil, "", g.text()), g.config(name), g.one(true, false),
		g.IntN(20), g.date(), g.one(nil, g.date(), g.date()),
	}
	if g.step >= 8 {
		columns += ", number_of_stars, pop"
		values = append(values, g.IntN(3), g.one(nil, true, false))
	}
	g.insert("projects", columns, values...)
	if g.step >= 10 {
		fmt.Fprintf(&g.sql, "UPDATE users SET number_of_projects = number_of_projects + 1 WHERE namespace = %s;\n", literal(namespace))
	}
	g.makeSamples(id)
	g.makeSubsamples(id)
}

// makeOrphan writes a sample that belongs to no project.
func (g *generator) makeOrphan() {
	columns, values := "id, sample", []any{g.id("samples"), g.record()}
	if g.step < 11 {
		columns, values = columns+", row_number", append(values, 0)
	}
	if g.step >= 10 {
		columns, values = columns+", guid, submission_date", append(values, g.guid(g.ids["samples"]), g.date())
	}
	g.insert("samples", columns, values...)
}

// config is what 0.5 and newer keep of a project's file. Before 0.7 its name is not
// always the project's.
func (g *generator) config(name string) string {
	var members []string
	for range g.IntN(4) {
		members = append(members, g.jsonText()+": "+g.json(2))
	}
	if g.oneIn(3) {
		members = append(members, `"sample_table_index": `+g.one(`"sample_name"`, `"my_id"`, `""`, "null", `"a\u0062"`).(string))
	}
	switch {
	case g.oneIn(8):
	case g.oneIn(3) && g.step < 8:
		members = append(members, `"name": `+g.one(g.jsonText(), "null", "17").(string))
		fallthrough
	default:
		members = append(members, `"name": `+encode(name))
	}
	if g.oneIn(2) {
		members = append(members, `"description": `+g.jsonText())
	}
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + strings.Join(members, ", ") + "}"
}

// record is a sample: an object whose name may be anywhere, or missing, or no text.
func (g *generator) record() string {
	var members []string
	for _, column := range []string{"sample_name", "my_id", "ab"} {
		if g.oneIn(2) {
			members = append(members, encode(column)+": "+g.one(g.jsonText(), g.jsonText(), "17", "null", `"twin"`).(string))
		}
	}
	for range g.IntN(4) {
		members = append(members, g.jsonText()+": "+g.json(2))
	}
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return g.one("{", "{ ", "{\n").(string) + strings.Join(members, ", ") + "}"
}

// makeSamples writes the samples of a project, in an order on disk that is not theirs.
func (g *generator) makeSamples(project int) {
	number := g.one(0, 1, 2, 12).(int)
	order := g.Perm(number)
	ids := map[int]int{}
	for _, position := range order {
		ids[position] = g.id("samples")
	}
	for position := range number {
		id := ids[position]
		g.samples[project] = append(g.samples[project], id)
		columns, values := "id, sample, project_id", []any{id, g.record(), project}
		if g.step < 11 {
			columns += ", row_number"
			values = append(values, g.rowNumber(position))
		}
		if g.step >= 8 {
			columns += ", sample_name"
			values = append(values, g.one(nil, "", g.text(), "twin"))
		}
		if g.step >= 10 {
			columns += ", guid, parent_guid, submission_date, last_update_date"
			var parent any
			if position > 0 {
				parent = g.guid(ids[position-1])
			}
			values = append(values, g.guid(id), parent, g.date(), g.one(nil, g.date()))
		}
		g.insert("samples", columns, values...)
	}
}

func (g *generator) guid(sample int) string {
	return fmt.Sprintf("%08x-0000-4000-8000-%012x", g.step, sample)
}

// rowNumber leaves gaps, and now and then gives two samples one number. From 0.9 on
// nobody reads it.
func (g *generator) rowNumber(position int) int {
	if g.step >= 10 {
		return g.IntN(3)
	}
	if position > 0 && g.oneIn(8) {
		return 2 * (position - 1)
	}
	return 2 * position
}

func (g *generator) makeSubsamples(project int) {
	for table := range g.one(0, 0, 1, 2, 3).(int) {
		for row := range 1 + g.IntN(3) {
			g.insert("subsamples", "id, subsample, project_id, subsample_number, row_number",
				g.id("subsamples"), g.record(), project, table, row)
		}
	}
}

// makeDocument writes a project as 0.4 and before keep it.
func (g *generator) makeDocument(namespace, name, tag string) {
	var config []string
	if g.oneIn(2) {
		config = append(config, `"name": `+g.one(encode(name), encode(name), g.jsonText(), "null").(string))
	}
	if g.oneIn(2) {
		config = append(config, `"description": `+g.jsonText())
	}
	if g.oneIn(3) {
		config = append(config, `"sample_table_index": `+g.one(`"my_id"`, `"sample_name"`, `""`, "null").(string))
	}
	for range g.IntN(4) {
		config = append(config, g.jsonText()+": "+g.json(2))
	}
	g.Shuffle(len(config), func(i, j int) { config[i], config[j] = config[j], config[i] })
	members := []string{`"_config": {` + strings.Join(config, ", ") + "}", `"_sample_dict": ` + g.table()}
	if g.oneIn(2) {
		members = append(members, `"name": `+g.one(encode(name), encode(name), g.jsonText()).(string))
	}
	describes := g.oneIn(2)
	if describes {
		members = append(members, `"description": `+g.one(g.jsonText(), g.jsonText(), "null", "5").(string))
	}
	for _, key := range []string{`"_subsample_list": `, `"_subsample_dict": `} {
		if g.oneIn(2) {
			members = append(members, key+g.tables())
		}
	}
	if g.oneIn(6) {
		members = append(members, `"extra": `+g.json(2))
	}
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	document := "{" + strings.Join(members, ", ") + "}"

	id := g.id("projects")
	columns, values := "id, namespace, name, tag, digest, project_value", []any{
		id, namespace, name, tag, fmt.Sprintf("%032x", id), document,
	}
	if g.step == 1 {
		g.insert("projects", columns+", anno_info", append(values, g.annotation())...)
		return
	}
	columns += ", private, number_of_samples, submission_date, last_update_date"
	values = append(values, g.one(true, false), g.IntN(20), g.date(), g.date())
	if g.step >= 6 {
		columns += ", description"
		values = append(values, g.text())
		if !describes && g.oneIn(2) {
			values[len(values)-1] = nil
		}
	}
	g.insert("projects", columns, values...)
}

func (g *generator) annotation() any {
	if g.oneIn(5) {
		return g.one(nil, "null", "[]")
	}
	var notes []string
	for _, note := range []struct {
		key    string
		values []any
	}{
		{"status", []any{`"public"`}},
		{"is_private", []any{"true", "false", `"True"`, "null"}},
		{"n_samples", []any{"3", `"4"`, `"many"`, "-1"}},
		{"number_of_samples", []any{"5", "6", "null"}},
		{"description", []any{g.jsonText(), "null"}},
		{"own", []any{g.json(2)}},
		{"last_update", []any{
			encode(g.date()), `"2022-11-01"`, `"2022-11-01T12:34:56"`, `"2022-11-01 12:34:56+02:00"`, `"2022-13-45 00:00:00"`,
			`"yesterday"`, "null", "1667306096",
		}},
	} {
		if g.oneIn(2) {
			notes = append(notes, encode(note.key)+": "+g.one(note.values...).(string))
		}
	}
	return "{" + strings.Join(notes, ", ") + "}"
}

// tables are the subsamples of a document.
func (g *generator) tables() string {
	if g.oneIn(3) {
		return "null"
	}
	var list []string
	for range g.IntN(4) {
		list = append(list, g.table())
	}
	if g.oneIn(10) {
		list = append([]string{g.one("null", "7", "[]").(string)}, list...)
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// table is a list of records, as 0.4.3 writes it, or an object of columns, as releases
// before do.
func (g *generator) table() string {
	if g.oneIn(8) {
		return g.one("[]", "{}").(string)
	}
	if g.oneIn(2) {
		var records []string
		for range 1 + g.IntN(4) {
			records = append(records, g.record())
		}
		return "[" + strings.Join(records, ", ") + "]"
	}
	keys := [][]string{
		{"0", "1", "2"}, {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"}, {"0"},
		{"zebra", "ant", "é", `q"\`}, {"101", "7"}, {"s1", "s2", "s10"}, {"2", "0", "1"},
	}[g.IntN(7)]
	var columns []string
	for _, column := range []string{"sample_name", "my_id", "file", g.text()} {
		if g.oneIn(3) {
			continue
		}
		var cells []string
		for _, key := range keys {
			switch {
			case g.oneIn(6):
			case column == "sample_name" || column == "my_id":
				cells = append(cells, encode(key)+": "+encode(key))
			default:
				cells = append(cells, encode(key)+": "+g.json(1))
				if g.oneIn(20) {
					cells = append(cells, encode(key)+": "+g.json(1))
				}
			}
		}
		if g.oneIn(3) {
			g.Shuffle(len(cells), func(i, j int) { cells[i], cells[j] = cells[j], cells[i] })
		}
		columns = append(columns, encode(column)+": {"+strings.Join(cells, ", ")+"}")
	}
	if g.oneIn(10) {
		columns = append(columns, `"odd": `+g.one("null", "{}", "3").(string))
	}
	g.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
	return "{" + strings.Join(columns, ", ") + "}"
}

// made returns the ids of the projects written so far.
func (g *generator) made() []int {
	var ids []int
	for id := 1; id <= g.ids["projects"]; id++ {
		if _, ok := g.samples[id]; ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// makeForks makes projects forks of others; a fork of a fork and a deleted origin come
// about by themselves.
func (g *generator) makeForks() {
	made := g.made()
	for _, project := range made {
		if origin := made[g.IntN(len(made))]; g.oneIn(3) && origin != project {
			fmt.Fprintf(&g.sql, "UPDATE projects SET forked_from_id = %d WHERE id = %d;\n", origin, project)
		}
	}
}

func (g *generator) makeStars() {
	for user := 1; user <= g.ids["users"]; user++ {
		for _, project := range g.made() {
			if !g.oneIn(3) {
				continue
			}
			columns, values := "user_id, project_id", fmt.Sprintf("id, %d", project)
			if g.step >= 9 {
				columns, values = columns+", star_date", values+", "+literal(g.date())
			}
			fmt.Fprintf(&g.sql, "INSERT INTO stars (%s) SELECT %s FROM users WHERE id = %d;\n", columns, values, user)
		}
	}
}

func (g *generator) makeViews() {
	for _, project := range g.made() {
		for range g.one(0, 0, 1, 2).(int) {
			view := g.id("views")
			g.insert("views", "id, name, project_id, description", view, g.one("v", g.text()), project, g.one(nil, "", g.text()))
			for _, sample := range g.samples[project] {
				if g.oneIn(2) {
					g.insert("views_samples", "sample_id, view_id", sample, view)
				}
			}
		}
	}
}

func (g *generator) makeHistory() {
	for _, project := range g.made() {
		for range g.one(0, 0, 1, 2).(int) {
			history := g.id("project_history")
			g.insert("project_history", `id, project_id, "user", update_time, project_yaml`,
				history, project, g.users[g.IntN(len(g.users))], g.date(), g.json(2))
			for _, change := range []string{"UPDATE", "INSERT", "DELETE"} {
				if g.oneIn(2) {
					g.insert("sample_history", "id, history_id, guid, parent_guid, sample_json, change_type",
						g.id("sample_history"), history, g.guid(g.IntN(50)), g.one(nil, g.guid(g.IntN(50))), g.json(2), change)
				}
			}
		}
	}
}

// name returns a user and a name for something of a kind, and whether it is the first of
// that name.
func (g *generator) name(kind string) (namespace, name string, fresh bool) {
	namespace, name = g.users[g.IntN(len(g.users))], g.word()
	full := kind + " " + namespace + "/" + name
	fresh = !g.owned[full]
	g.owned[full] = true
	return namespace, name, fresh
}

// makeSchemas writes schemas as 0.11 keeps them, in groups, and links projects to them:
// by id, by text, by both.
func (g *generator) makeSchemas() {
	paths := map[int]string{}
	for range g.IntN(6) {
		namespace, name, fresh := g.name("schema")
		if !fresh {
			continue
		}
		id := g.id("schemas")
		paths[id] = namespace + "/" + name
		g.insert("schemas", "id, namespace, name, description, schema_json, private, submission_date, last_update_date",
			id, namespace, name, g.one(nil, "", g.text()), g.json(3), g.one(true, false), g.date(), g.one(nil, g.date()))
	}
	for range g.IntN(3) {
		namespace, name, fresh := g.name("group")
		if !fresh {
			continue
		}
		group := g.id("schema_groups")
		g.insert("schema_groups", "id, namespace, name, description", group, namespace, name, g.one(nil, "", g.text()))
		for schema := 1; schema <= g.ids["schemas"]; schema++ {
			if paths[schema] != "" && g.oneIn(2) {
				g.insert("schema_group_relations", "schema_id, group_id", schema, group)
			}
		}
	}
	for _, project := range g.made() {
		schema := 1 + g.IntN(g.ids["schemas"]+1)
		if paths[schema] == "" || g.oneIn(4) {
			fmt.Fprintf(&g.sql, "UPDATE projects SET pep_schema = %s WHERE id = %d;\n", literal(g.one(nil, "nobody/none", "pep/2.1.0")), project)
			continue
		}
		set := g.one("schema_id = %[1]d", "pep_schema = %[2]s", "schema_id = %[1]d, pep_schema = %[2]s").(string)
		fmt.Fprintf(&g.sql, "UPDATE projects SET "+set+" WHERE id = %[3]d;\n", schema, literal(paths[schema]), project)
	}
}

// makeRecords writes schemas as 0.12 keeps them.
func (g *generator) makeRecords() {
	for range g.IntN(5) {
		namespace, name, fresh := g.name("schema")
		if !fresh {
			continue
		}
		record := g.id("schema_records")
		g.insert("schema_records", "id, namespace, name, maintainers, lifecycle_stage, description, private, last_update_date",
			record, namespace, name, g.one(nil, "", g.text()), g.one(nil, "", "stable"), g.one(nil, "", g.text()), g.one(true, false), g.date())
		fmt.Fprintf(&g.sql, "UPDATE users SET number_of_schemas = number_of_schemas + 1 WHERE namespace = %s;\n", literal(namespace))
		for number := range 1 + g.IntN(3) {
			version := g.id("schema_versions")
			g.insert("schema_versions",
				"id, schema_id, version, schema_value, release_date, last_update_date, contributors, release_notes",
				version, record, fmt.Sprintf("%d.0.0", 9*number+1), g.json(3), g.date(), g.date(), g.one(nil, "", g.text()), g.one(nil, "", g.text()))
			for range g.IntN(3) {
				g.insert("schema_tags", "id, tag_name, tag_value, schema_version_id", g.id("schema_tags"), g.one("maturity", g.text()), g.one(nil, g.text()), version)
			}
			for _, project := range g.made() {
				if g.oneIn(4) {
					fmt.Fprintf(&g.sql, "UPDATE projects SET schema_id = %d WHERE id = %d;\n", version, project)
				}
			}
		}
	}
}

func (g *generator) makeArchives() {
	for range g.IntN(3) {
		g.insert("namespace_archives", "id, namespace, file_path, creation_date, number_of_projects, file_size",
			g.id("namespace_archives"), g.users[g.IntN(len(g.users))], g.text(), g.date(), g.IntN(9), g.IntN(1<<31))
		g.insert("bedbase_stats", "id, gse, gsm, sample_name, genome, last_update_date, submission_date",
			g.id("bedbase_stats"), g.text(), g.text(), g.one(nil, g.text()), g.one(nil, "hg38"), g.one(nil, "2024"), g.one(nil, ""))
	}
}
