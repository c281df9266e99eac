package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pephub-migrate/internal/config"
	"pephub-migrate/migrations"
)

// content is everything that a PEPhub database holds, in terms that belong to no release:
// under each kind of fact, one line a fact. A release has only those kinds that it can
// hold. What a release says in another way than the newest is said as the newest would
// have it, by rules that are written down here a second time, apart from the steps' own.
type content map[string][]string

func (c content) add(kind string, facts ...any) {
	var line strings.Builder
	for _, fact := range facts {
		fmt.Fprintf(&line, "%v ", fact)
	}
	c[kind] = append(c[kind], strings.TrimSuffix(line.String(), " "))
}

// kind makes a kind known, so that it counts as held even where there is none of it.
func (c content) kind(names ...string) {
	for _, name := range names {
		if c[name] == nil {
			c[name] = []string{}
		}
	}
}

// null stands for NULL; no text that a test writes looks like it.
const null = `\N`

// rows returns all rows as text, with null for NULL.
func rows(t *testing.T, conn *pgx.Conn, sql string) [][]string {
	t.Helper()
	results, err := conn.PgConn().Exec(context.Background(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	var table [][]string
	for _, row := range results[len(results)-1].Rows {
		var cells []string
		for _, cell := range row {
			if cell == nil {
				cells = append(cells, null)
			} else {
				cells = append(cells, string(cell))
			}
		}
		table = append(table, cells)
	}
	return table
}

// contentReader reads one database, whatever release its tables are of.
type contentReader struct {
	t       *testing.T
	conn    *pgx.Conn
	columns map[string]bool // as table.column
	content content

	projects []*oneProject // by id
	byID     map[string]*oneProject
}

// oneProject is what the rest of the content needs to know about a project.
type oneProject struct {
	id, namespace, name, tag, digest      string
	description, private, samples         string
	submitted, updated                    string
	config, document, annotation          string // json; null where the release has no such column
	pepSchema, schemaID, stars, pop, fork string

	decoded document // if it has a document
}

func (p *oneProject) key() string { return strconv.Quote(p.namespace + "/" + p.name + ":" + p.tag) }

// described is the last step whose tables this reading knows, as does the SQL of the
// tests on samples of each release. It need not grow: a database at a later step is seen
// through the later steps' own ways back, which have to give back all that an older
// release has put there.
const described = 15

// backToDescribed takes a database at a later step back to the one described. It returns
// the step at which it was, or 0 if there was nothing to do.
func backToDescribed(t *testing.T, conn *pgx.Conn) (was int) {
	t.Helper()
	if newest == strconv.Itoa(described) {
		return 0
	}
	was = lookOn(t, conn, loadSteps(t)).Version()
	if was <= described {
		return 0
	}
	if err := runOn(t, migrations.FS, conn, config.Config{Action: config.Down, Target: described}); err != nil {
		t.Fatalf("the way back to step %d, at which content can be read: %v", described, err)
	}
	return was
}

// readContent reads everything that the database holds.
func readContent(t *testing.T, conn *pgx.Conn) content {
	t.Helper()
	if was := backToDescribed(t, conn); was > 0 {
		defer func() {
			if err := runOn(t, migrations.FS, conn, config.Config{Action: config.Up, Target: was}); err != nil {
				t.Fatalf("up again to step %d: %v", was, err)
			}
		}()
	}
	r := &contentReader{t: t, conn: conn, columns: map[string]bool{}, content: content{}, byID: map[string]*oneProject{}}
	for _, row := range rows(t, conn, `
		SET timezone = 'UTC';
		SELECT c.relname || '.' || a.attname
		FROM pg_class AS c
		JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind = 'r'`) {
		r.columns[row[0]] = true
	}
	r.readProjects()
	r.readSamples()
	r.readSubsamples()
	r.addProjects()
	r.addUsers()
	r.addStars()
	r.addViews()
	r.addHistory()
	r.addArchives()
	r.addSchemas()
	r.addSequences()
	for _, lines := range r.content {
		slices.Sort(lines)
	}
	return r.content
}

func (r *contentReader) has(column string) bool { return r.columns[column] }

// column is an expression for a column, or NULL where the release does not have it.
func (r *contentReader) column(name string) string {
	if !r.has(name) {
		return "NULL"
	}
	return name
}

// date is an expression for a date, which has no zone in 0.4 and before.
func (r *contentReader) date(column string) string {
	if !r.has(column) {
		return "NULL"
	}
	return fmt.Sprintf("CASE WHEN %[1]s > now() - interval '1 hour' THEN '%[2]s' ELSE %[1]s::timestamptz::text END", column, today)
}

// numbered reports whether samples are rows with a number, or still within a document:
// before 0.9.
func (r *contentReader) numbered() bool { return !r.has("samples.guid") }

func (r *contentReader) readProjects() {
	list := rows(r.t, r.conn, "SELECT "+strings.Join([]string{
		"id", "namespace", "name", "tag", "digest", r.column("projects.description"), r.column("projects.private"),
		r.column("projects.number_of_samples"), r.date("projects.submission_date"), r.date("projects.last_update_date"),
		r.column("projects.config"), r.column("projects.project_value"), r.column("projects.anno_info"),
		r.column("projects.pep_schema"), r.column("projects.schema_id"), r.column("projects.number_of_stars"),
		r.column("projects.pop"), r.column("projects.forked_from_id"),
	}, ", ")+" FROM projects ORDER BY id")
	for _, c := range list {
		p := &oneProject{
			id: c[0], namespace: c[1], name: c[2], tag: c[3], digest: c[4], description: c[5], private: c[6],
			samples: c[7], submitted: c[8], updated: c[9], config: c[10], document: c[11], annotation: c[12], pepSchema: c[13],
			schemaID: c[14], stars: c[15], pop: c[16], fork: c[17],
		}
		r.projects = append(r.projects, p)
		r.byID[p.id] = p
		if p.document != null {
			r.fromDocument(p)
		}
	}
	if r.has("projects.project_value") && !r.has("projects.pep_schema") {
		r.content.kind("old name")
	}
}

// fromDocument fills in what 0.4 and before keep in a document, and 0.1 and 0.2 in
// anno_info.
func (r *contentReader) fromDocument(p *oneProject) {
	if !r.has("projects.private") {
		p.fromAnnotation(r.t)
	}
	if !r.has("projects.pep_schema") { // 0.4 looks names up in lower case
		if lower := strings.ToLower(p.namespace + " " + p.name); lower != p.namespace+" "+p.name {
			r.content.add("old name", p.id, p.namespace, p.name)
		}
		p.namespace, p.name = strings.ToLower(p.namespace), strings.ToLower(p.name)
	}
	p.decoded = decodeDocument(r.t, p.document, p.name)
	if !r.has("projects.description") {
		p.description = textOf(p.decoded.description)
	}
}

func (r *contentReader) addProjects() {
	c := r.content
	c.kind("project", "date of project", "config", "old config name", "odd document", "extra member", "old annotation", "number of stars", "pop", "fork")
	for _, p := range r.projects {
		c.add("project", p.key(), p.id, p.digest, p.private, p.samples, quoted(p.description))
		c.add("date of project", p.key(), p.submitted, p.updated)
		switch {
		case p.document != null:
			config := p.decoded.fullConfig(p.description)
			c.addOldName(p, config)
			c.add("config", p.key(), named(config, p.name))
			if p.decoded.odd(p.description) {
				c.add("odd document", p.id, canonical(r.t, p.document))
			}
			c.addExtra(p.id, p.decoded.members)
		case !r.has("projects.number_of_stars"): // 0.5 and 0.6: the name in it need not be the project's
			config := members(r.t, p.config)
			c.addOldName(p, config)
			c.add("config", p.key(), named(config, p.name))
		default:
			c.add("config", p.key(), canonical(r.t, p.config))
		}
		if p.annotation != null {
			c.add("old annotation", p.id, canonical(r.t, p.annotation))
		}
		fork, pop := null, "f"
		if r.has("projects.pop") {
			pop = p.pop
			if origin := r.byID[p.fork]; origin != nil {
				fork = origin.key()
			}
		}
		c.add("pop", p.key(), pop)
		c.add("fork", p.key(), fork)
	}
	r.addArchived("old config name", "archived_project_config_names", "project_id::text, name::text")
	r.addArchived("odd document", "archived_project_values", "project_id::text, project_value::text")
	for _, line := range c["odd document"] {
		if project, document, _ := strings.Cut(line, " "); !r.has("projects.project_value") {
			c.addExtra(project, members(r.t, document))
		}
	}
	r.addArchived("old annotation", "archived_project_anno_info", "project_id::text, anno_info::text")
	r.addArchived("old name", "archived_project_names", "project_id::text, namespace, name")
}

// addArchived adds what an upgrade has put aside. The last column of json is written
// canonically.
func (r *contentReader) addArchived(kind, table, columns string) {
	if !r.has(table + ".project_id") {
		return
	}
	for _, row := range rows(r.t, r.conn, "SELECT "+columns+" FROM "+table) {
		if row[len(row)-1] == null {
			continue
		}
		if strings.HasSuffix(columns, "::text") {
			row[len(row)-1] = canonical(r.t, row[len(row)-1])
		}
		r.content.add(kind, strings.Join(row, " "))
	}
}

func (c content) addExtra(project string, document []member) {
	for _, m := range extra(document) {
		c.add("extra member", project, encode(m.key), m.value)
	}
}

// addOldName notes the name in a config that is not the project's, which the upgrade to
// 0.7 replaces.
func (c content) addOldName(p *oneProject, config []member) {
	if name, ok := last(config, "name"); ok && textOf(name) != p.name {
		c.add("old config name", p.id, name)
	}
}

func (r *contentReader) addUsers() {
	projects := map[string]int{}
	for _, p := range r.projects {
		projects[p.namespace]++
	}
	counted := map[string]string{}
	for namespace, number := range projects {
		counted[namespace] = strconv.Itoa(number)
	}
	r.content.kind("user")
	if r.has("users.namespace") {
		for _, row := range rows(r.t, r.conn, "SELECT DISTINCT namespace FROM users") {
			if counted[row[0]] == "" {
				counted[row[0]] = "0"
			}
		}
	}
	if r.has("users.number_of_projects") { // and every namespace has one user
		r.content.kind("id of user")
		for _, row := range rows(r.t, r.conn, "SELECT namespace, number_of_projects, id FROM users") {
			counted[row[0]] = row[1]
			r.content.add("id of user", row[0], row[2])
		}
	}
	for namespace, number := range counted {
		r.content.add("user", namespace, number)
	}
}

// addStars merges the stars of several users of one namespace, which 0.7 and 0.8 allow.
func (r *contentReader) addStars() {
	if !r.has("stars.user_id") {
		for _, p := range r.projects {
			r.content.add("number of stars", p.key(), 0)
		}
		return
	}
	r.content.kind("star")
	counted := map[string]int{}
	for _, row := range rows(r.t, r.conn, `
		SELECT u.namespace, s.project_id, min(`+dateOfStar(r)+`), count(*)
		FROM stars AS s
		JOIN users AS u ON u.id = s.user_id
		JOIN projects AS p ON p.id = s.project_id
		GROUP BY 1, 2`) {
		r.content.add("star", row[0], r.byID[row[1]].key(), row[2])
		counted[row[1]]++
	}
	for _, p := range r.projects {
		if r.numbered() {
			r.content.add("number of stars", p.key(), counted[p.id])
		} else {
			r.content.add("number of stars", p.key(), p.stars)
		}
	}
}

func dateOfStar(r *contentReader) string {
	if r.has("stars.star_date") {
		return "s.star_date"
	}
	return "p.submission_date"
}

func (r *contentReader) addViews() {
	if !r.has("views.id") {
		return
	}
	r.content.kind("view")
	for _, row := range rows(r.t, r.conn, `
		SELECT v.id, v.name, coalesce(v.project_id, 0), v.description,
			(SELECT array_agg(m.sample_id ORDER BY m.sample_id) FROM views_samples AS m WHERE m.view_id = v.id)
		FROM views AS v`) {
		r.content.add("view", row[0], quoted(row[1]), row[2], quoted(row[3]), row[4])
	}
}

func (r *contentReader) addHistory() {
	if !r.has("project_history.id") {
		return
	}
	r.content.kind("history", "change")
	for _, row := range rows(r.t, r.conn, `SELECT id, project_id, "user", update_time, project_yaml FROM project_history`) {
		r.content.add("history", row[0], row[1], row[2], row[3], row[4])
	}
	for _, row := range rows(r.t, r.conn,
		"SELECT id, history_id, guid, parent_guid, change_type, sample_json FROM sample_history") {
		r.content.add("change", row[0], row[1], row[2], row[3], row[4], row[5])
	}
}

func (r *contentReader) addArchives() {
	if !r.has("namespace_archives.id") {
		return
	}
	r.content.kind("archive", "bedbase")
	for kind, columns := range map[string]string{ // by name: the way back from a later step may leave them in another order
		"archive": "id, namespace, file_path, creation_date, number_of_projects, file_size) FROM namespace_archives",
		"bedbase": "id, gse, gsm, sample_name, genome, last_update_date, submission_date) FROM bedbase_stats",
	} {
		for _, row := range rows(r.t, r.conn, "SELECT ROW("+columns) {
			r.content.add(kind, row[0])
		}
	}
}

// addSequences notes the number that each sequence of a kept table is at: no id may come
// again.
func (r *contentReader) addSequences() {
	for table, kind := range map[string]string{
		"projects": "projects", "samples": "samples", "subsamples": "subsamples", "views": "views",
		"project_history": "history", "sample_history": "changes", "schemas": "schemas", "schema_records": "schemas",
	} {
		if !r.has(table + ".id") {
			continue
		}
		for _, row := range rows(r.t, r.conn, "SELECT last_value, is_called FROM "+table+"_id_seq") {
			r.content.add("sequence of "+kind, row[0], row[1])
		}
	}
}

func quoted(text string) string {
	if text == null {
		return null
	}
	return strconv.Quote(text)
}

// diff returns the lines that only one of two texts has, for a test's message.
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

// sameContent fails the test unless after holds everything that before holds, and of
// those kinds nothing else. It reports whether that is so.
func sameContent(t *testing.T, before, after content) bool {
	t.Helper()
	same := true
	for _, kind := range slices.Sorted(maps.Keys(before)) {
		if !slices.Equal(before[kind], after[kind]) {
			same = false
			t.Errorf("%s:\n%s", kind, diff(strings.Join(before[kind], "\n"), strings.Join(after[kind], "\n")))
		}
	}
	return same
}
