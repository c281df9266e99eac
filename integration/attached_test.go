package integration

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pephub-migrate/internal/config"
	"pephub-migrate/migrations"
)

// fact is one thing that the catalogs can say: of which object, and what of it.
type fact struct{ object, property string }

// facts is all that the catalogs say of a database.
type facts map[fact]string

func readFacts(t testing.TB, conn *pgx.Conn) facts {
	t.Helper()
	results, err := conn.PgConn().Exec(context.Background(), readFile(t, "testdata/deck-facts.sql")).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	seen := facts{}
	for _, row := range results[0].Rows {
		f := fact{string(row[0]), string(row[1])}
		if _, twice := seen[f]; twice {
			t.Fatalf("the catalogs say twice: %v", f)
		}
		seen[f] = string(row[2])
	}
	return seen
}

func (f facts) String() string {
	var lines []string
	for key, value := range f {
		lines = append(lines, fmt.Sprintf("%s: %s = %s", key.object, key.property, value))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// beyond returns what a database has that its plain twin has not, or has otherwise, and
// what it lacks.
func (f facts) beyond(plain facts) (added, removed facts) {
	added, removed = facts{}, facts{}
	for key, value := range f {
		if was, ok := plain[key]; !ok || was != value {
			added[key] = value
		}
	}
	for key, value := range plain {
		if _, ok := f[key]; !ok {
			removed[key] = value
		}
	}
	return added, removed
}

func isGrant(property string) bool { return strings.HasPrefix(property, "grant ") }

// expectation is what must be beyond the plain twin after an upgrade.
type expectation struct {
	facts
	// loose is what the steps declare no place for: it may be on any other object. If
	// nobody has named it, it must be somewhere.
	loose facts
}

// give sets a fact; of two grants of the same, the one with the grant option is the one
// that counts.
func (e expectation) give(object, property, value string) {
	key := fact{object, property}
	if isGrant(property) && e.facts[key] == "with grant option" {
		return
	}
	e.facts[key] = value
}

// take removes all that is on an object, and returns it.
func (e expectation) take(object string) facts {
	taken := facts{}
	for key, value := range e.facts {
		if key.object == object {
			taken[key] = value
			delete(e.facts, key)
		}
	}
	return taken
}

func (e expectation) on(object string) facts {
	seen := facts{}
	for key, value := range e.facts {
		if key.object == object {
			seen[key] = value
		}
	}
	return seen
}

// tableWide is what a table takes over from the one that its rows came from.
func tableWide(key fact, value string) bool {
	return isGrant(key.property) || key.property == "row security" || strings.HasPrefix(key.property, "publication ") && value == "{}"
}

// derive lets tables that a step makes take after another.
func (e expectation) derive(from string, made ...string) {
	for _, table := range made {
		for key, value := range e.on("table " + from) {
			begunEmpty := table != "samples" && table != "subsamples" // none of its rows was published before
			if tableWide(key, value) && !(begunEmpty && strings.HasPrefix(key.property, "publication ")) {
				e.give("table "+table, key.property, value)
			}
		}
		if table == "stars" || table == "views_samples" || table == "schema_group_relations" {
			continue // they have no sequence
		}
		for key, value := range e.on("sequence " + from + "_id_seq") {
			if isGrant(key.property) {
				e.give("sequence "+table+"_id_seq", key.property, value)
			}
		}
	}
}

// archive lets whoever may read a table read what is kept of it.
func (e expectation) archive(from, archive string) {
	for key, value := range e.on("table " + from) {
		if strings.HasSuffix(key.property, " SELECT") && isGrant(key.property) || key.property == "row security" {
			e.give("table "+archive, key.property, value)
		}
	}
}

// moveColumn moves what is on a column: all of it, or if only grants have a place, them.
func (e expectation) moveColumn(from string, onlyGrants bool, to ...string) {
	for key, value := range e.take("column " + from) {
		if onlyGrants && !isGrant(key.property) {
			e.loose[key] = value
			continue
		}
		for _, column := range to {
			e.give("column "+column, key.property, value)
		}
	}
}

// rename moves what is on a constraint and its index.
func (e expectation) rename(table, constraint, toTable, to string) {
	for key, value := range e.take("constraint " + table + "." + constraint) {
		e.give("constraint "+toTable+"."+to, key.property, value)
	}
	for key, value := range e.take("index " + constraint) {
		e.give("index "+to, key.property, value)
	}
	for key, value := range maps.Clone(e.facts) {
		if column, ok := strings.CutPrefix(key.object, "column "+constraint+"."); ok {
			delete(e.facts, key)
			e.give("column "+to+"."+column, key.property, value)
		}
		if key.property == "replica identity" && value == "index "+constraint {
			e.facts[key] = "index " + to
		}
		if key.property == "index" && value == constraint { // of a foreign key
			e.facts[key] = to
		}
	}
}

// follow says where everything is after the steps behind from: what they declare, once
// more, apart from them.
func follow(from int, before facts) expectation {
	e := expectation{maps.Clone(before), facts{}}
	for step := from + 1; step <= 15; step++ {
		switch step {
		case 2:
			e.moveColumn("projects.anno_info", true,
				"projects.private", "projects.number_of_samples", "projects.submission_date", "projects.last_update_date")
		case 7:
			e.derive("projects", "samples", "subsamples")
			if space, ok := e.facts[fact{"table projects", "tablespace"}]; ok {
				e.give("table samples", "tablespace", space)
				e.give("table subsamples", "tablespace", space)
			}
			e.moveColumn("projects.project_value", true, "projects.config", "samples.sample", "subsamples.subsample")
			e.rename("projects", "id", "projects", "projects_namespace_name_tag_key")
		case 8:
			e.derive("projects", "users", "stars", "views", "views_samples")
		case 11:
			e.derive("projects", "project_history", "sample_history")
			e.moveColumn("samples row_number", false)
		case 12:
			e.derive("projects", "schemas", "schema_groups", "schema_group_relations")
		case 13:
			e.derive("projects", "namespace_archives", "bedbase_stats")
		case 14:
			e.versionSchemas()
		}
	}
	for _, archive := range []string{"names", "anno_info", "values", "config_names", "pep_schemas"} {
		e.archive("projects", "archived_project_"+archive)
	}
	for key, value := range e.on("table projects") {
		if isGrant(key.property) && strings.HasSuffix(key.property, " SELECT") {
			e.give("table schema_migrations", key.property, value)
			e.give("table alembic_version", key.property, value)
		}
	}
	return e
}

func (e expectation) versionSchemas() {
	e.archive("schema_groups", "archived_schema_groups")
	e.archive("schema_group_relations", "archived_schema_group_relations")
	relations := e.take("table schema_group_relations")
	for key, value := range e.take("table schema_groups") {
		both, ok := relations[fact{"table schema_group_relations", key.property}]
		switch {
		case isGrant(key.property) && ok:
			e.give("table schema_tags", key.property, min(value, both)) // "plain" is less
		case isGrant(key.property), strings.HasPrefix(key.property, "publication "):
		case key.property == "row security":
			e.give("table schema_tags", key.property, value)
		default:
			e.loose[key] = value
		}
	}
	if secured, ok := relations[fact{"table schema_group_relations", "row security"}]; ok {
		e.give("table schema_tags", "row security", secured)
	}
	for key, value := range e.take("sequence schema_groups_id_seq") {
		if isGrant(key.property) {
			e.give("sequence schema_tags_id_seq", key.property, value)
		} else {
			e.loose[key] = value
		}
	}

	for key, value := range e.take("table schemas") {
		switch {
		case tableWide(key, value):
			e.give("table schema_records", key.property, value)
			e.give("table schema_versions", key.property, value)
		case key.property == "comment", key.property == "options", key.property == "options of TOAST", key.property == "replica identity":
			e.give("table schema_records", key.property, value)
		case strings.HasPrefix(key.property, "grantor of "):
		default:
			e.loose[key] = value
		}
	}
	for key, value := range e.take("sequence schemas_id_seq") {
		e.give("sequence schema_records_id_seq", key.property, value)
		if isGrant(key.property) {
			e.give("sequence schema_versions_id_seq", key.property, value)
		}
	}
	for _, column := range []string{"id", "namespace", "name", "description", "private", "last_update_date"} {
		e.moveColumn("schemas."+column, false, "schema_records."+column)
	}
	e.moveColumn("schemas.schema_json", false, "schema_versions.schema_value")
	e.moveColumn("schemas.submission_date", false, "schema_versions.release_date")
	for _, constraint := range []string{"pkey", "namespace_fkey", "namespace_name_key"} {
		e.rename("schemas", "schemas_"+constraint, "schema_records", "schema_records_"+constraint)
	}
	e.moveColumn("projects.pep_schema", true, "projects.schema_id")
	link := "constraint projects.projects_schema_id_fkey"
	for key, value := range e.take(link) {
		e.give(link, strings.TrimSuffix(key.property, " on schemas")+
			map[bool]string{true: " on schema_versions"}[strings.HasSuffix(key.property, " on schemas")], value)
	}
	for key, value := range maps.Clone(e.facts) {
		if goesWithSchemas.MatchString(key.object) {
			delete(e.facts, key)
			e.loose[key] = value
		}
	}
}

// goesWithSchemas are the objects that step 14 drops.
var goesWithSchemas = regexp.MustCompile(`^\w+ (ix_)?schema(s|_groups|_group_relations)(\.|_id_seq|_pkey|_namespace|_name|_description|_id|_group_id|_schema_id|$)`)

// undecided is what a test has no opinion of: whether who may read an archive or a
// version table may pass that on, what of a version table is replicated, and who has
// passed on what the owner did not grant.
func undecided(key fact) bool {
	own := strings.HasPrefix(key.object, "table archived_") || key.object == "table schema_migrations" || key.object == "table alembic_version"
	return own && (strings.HasPrefix(key.property, "publication ") || strings.HasPrefix(key.property, "grantor of ")) ||
		(key.object == "table schema_migrations" || key.object == "table alembic_version") && key.property == "row security"
}

// typed are the casts and brackets by which an expression on a column differs once the
// column has another type.
var typed = regexp.MustCompile(`::(text|bigint|integer|character varying)|[()]`)

// alike leaves out of a value what a test has no opinion of.
func alike(key fact, value string) string {
	if key.property == "definition" {
		return typed.ReplaceAllString(value, "")
	}
	if isGrant(key.property) && (strings.HasPrefix(key.object, "table archived_") ||
		key.object == "table schema_migrations" || key.object == "table alembic_version") {
		return "yes"
	}
	return value
}

// optional is what an upgrade may add on top: grants on columns that came from a column
// that is in two places now, and publications for what groups have become.
func optional(key fact) bool {
	return strings.HasPrefix(key.property, "grantor of ") || strings.HasPrefix(key.object, "table archived_") || // one that the way back leaves
		key.object == "table schema_tags" && strings.HasPrefix(key.property, "publication ") || isGrant(key.property) && slices.Contains([]string{
		"column schema_versions.id", "column schema_versions.schema_id", "column schema_versions.last_update_date",
	}, key.object)
}

// want fails the test unless a database differs from its plain twin in what is expected,
// and in nothing else.
func (e expectation) want(t *testing.T, plain, got facts, lacks facts) {
	t.Helper()
	objects := map[string]bool{}
	for key := range plain {
		objects[key.object] = true
	}
	want, seen := facts{}, facts{}
	for key, value := range e.facts {
		archive := strings.HasPrefix(key.object, "table archived_") && !objects[key.object] // there was nothing to archive
		if !undecided(key) && !archive {
			want[key] = alike(key, value)
		}
	}
	added, removed := got.beyond(plain)
	for key, value := range added {
		if was, ok := plain[key]; ok && alike(key, was) == alike(key, value) {
			continue
		}
		if _, ok := want[key]; !undecided(key) && (ok || !optional(key)) {
			seen[key] = alike(key, value)
		}
	}
	for key, value := range want {
		// What the twin has of itself is nothing beyond it.
		if was, ok := plain[key]; ok && alike(key, was) == value {
			delete(want, key)
		}
	}
	for key, value := range e.loose {
		place, found := fact{}, false
		for other, there := range seen {
			if _, expected := want[other]; !expected && other.property == key.property && there == value {
				place, found = other, true
			}
		}
		if !found {
			t.Errorf("is neither kept nor named: %s: %s = %s", key.object, key.property, value)
		}
		delete(seen, place)
	}
	if difference := diff(want.String(), seen.String()); difference != "" {
		t.Errorf("what was attached is otherwise (- is expected, + is there):\n%s", difference)
	}
	for key, value := range removed {
		if _, ok := lacks[key]; !ok && objects[key.object] {
			t.Errorf("is gone: %s: %s = %s", key.object, key.property, value)
		}
	}
	for key, value := range lacks {
		if _, ok := removed[key]; !ok && objects[key.object] {
			t.Errorf("has come back: %s: %s = %s", key.object, key.property, value)
		}
	}
}

// outcome is how a run of the program ended: with the code, and with the objects that it
// would not lose.
type outcome struct {
	code   int
	log    string
	losses []loss
}

// loss is a line of log that names what would be lost, and the SQL that makes way.
type loss struct{ object, remedy string }

var lossLine = regexp.MustCompile(`level=ERROR msg="stands in the way" .*?object=("(?:[^"\\]|\\.)*"|\S+) .*?remedy=("(?:[^"\\]|\\.)*"|\S+)`)

// act runs the program in a crowd, once for each action.
func (c crowd) act(env map[string]string, actions ...string) map[string]outcome {
	c.t.Helper()
	text := c.run(env, `for action in `+strings.Join(actions, " ")+`; do
		MIGRATE_ACTION=$action /pephub-migrate 2>&1 >/dev/null; echo "=== $action $?"; done`)
	outcomes := map[string]outcome{}
	for _, action := range actions {
		log, rest, _ := strings.Cut(text, "=== "+action+" ")
		number, rest, _ := strings.Cut(rest, "\n")
		text = rest
		o := outcome{log: log}
		var err error
		if o.code, err = strconv.Atoi(number); err != nil {
			c.t.Fatal(err)
		}
		for _, match := range lossLine.FindAllStringSubmatch(log, -1) {
			o.losses = append(o.losses, loss{unquoted(match[1]), unquoted(match[2])})
		}
		outcomes[action] = o
	}
	return outcomes
}

func unquoted(value string) string {
	if text, err := strconv.Unquote(value); err == nil {
		return text
	}
	return value
}

func (o outcome) objects() []string {
	var names []string
	for _, l := range o.losses {
		names = append(names, l.object)
	}
	slices.Sort(names)
	return names
}

// names reports whether one of the objects has all the words.
func (o outcome) names(words ...string) bool {
	return slices.ContainsFunc(o.losses, func(l loss) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return !hasWord(l.object, word) })
	})
}

func hasWord(text, word string) bool {
	return regexp.MustCompile(`(^|\W)` + regexp.QuoteMeta(word) + `(\W|$)`).MatchString(text)
}

// lastLine is what the run concluded with.
func (o outcome) lastLine() string {
	lines := strings.Split(strings.TrimSpace(o.log), "\n")
	return lines[len(lines)-1]
}

var nothingDone = regexp.MustCompile(`(?i)nothing (was|has been|is) (done|changed|touched)`)

// wantRefused fails the test unless the run ended with 7 before it had done anything, and
// says so.
func (o outcome) wantRefused(t *testing.T) {
	t.Helper()
	if o.code != 7 || len(o.losses) == 0 {
		t.Errorf("exit code %d and %d objects named, want 7 and some: %s", o.code, len(o.losses), o.lastLine())
		return
	}
	if !nothingDone.MatchString(o.lastLine()) {
		t.Errorf("the last line does not say that nothing was done: %s", o.lastLine())
	}
	if strings.Contains(o.log, "msg=migrated ") {
		t.Errorf("steps were run before the refusal:\n%s", o.log)
	}
}

// space guards the tablespace that the deck needs. All tests share it, as the server.
var space sync.Mutex

func makeSpace(t *testing.T) {
	t.Helper()
	space.Lock()
	defer space.Unlock()
	conn := connect(t, "postgres")
	execute(t, conn, "SET allow_in_place_tablespaces = on")
	if len(query(t, conn, "SELECT spcname FROM pg_tablespace WHERE spcname = 'deck_space'")) == 0 {
		execute(t, conn, "CREATE TABLESPACE deck_space LOCATION ''")
	}
}

// deckDatabase makes a database of a release, with rows, and an owner who is no
// superuser.
func deckDatabase(t *testing.T, suffix, release string, seed uint64) (string, *pgx.Conn) {
	t.Helper()
	db := newDatabaseNamed(t, suffix, "pepdbagent-"+release+".sql")
	conn := connect(t, db)
	step := slices.Index(releases, release) + 1
	execute(t, conn, generate(step, seed, step))
	if step == 8 || step == 9 { // of users who are to be merged, the foreign keys from elsewhere are refused
		execute(t, conn, "DELETE FROM users AS u USING users AS v WHERE v.namespace = u.namespace AND v.id < u.id")
	}
	execute(t, conn, readFile(t, "testdata/deck-roles.sql"))
	return db, conn
}

// twin is a database without anything attached, before the upgrade, after it, and after
// the way back.
type twin struct{ before, after, back facts }

func newTwin(t *testing.T, place crowd, release string, seed uint64) twin {
	t.Helper()
	db, conn := deckDatabase(t, "_twin", release, seed)
	var plain twin
	plain.before = readFacts(t, conn)
	target := strconv.Itoa(slices.Index(releases, release) + 1)
	for _, way := range []struct {
		action, target string
		facts          *facts
	}{{"up", newest, &plain.after}, {"down", target, &plain.back}} {
		if o := place.act(environment(db, "MIGRATE_TARGET", way.target), way.action)[way.action]; o.code != 0 {
			t.Fatalf("the plain twin: %s", o.log)
		}
		*way.facts = readFacts(t, conn)
	}
	return plain
}

// wantBack fails the test unless what was attached before an upgrade is there again after
// the way back.
func wantBack(t *testing.T, plain twin, added, removed, back facts) {
	t.Helper()
	want := expectation{facts{}, facts{}}
	for key, value := range added {
		want.facts[key] = value
	}
	got := facts{}
	for key, value := range back {
		// A link in 0.12 stands for the text as well as for the link of 0.11.
		if _, there := added[key]; !there && (key.object == "column projects.pep_schema" && isGrant(key.property) ||
			key.object == "table schema_migrations" || key.object == "table alembic_version") {
			continue
		}
		got[key] = value
	}
	at := maps.Clone(plain.back)
	maps.DeleteFunc(at, func(key fact, _ string) bool {
		return key.object == "table schema_migrations" || key.object == "table alembic_version"
	})
	want.want(t, at, got, removed)
}

// Whatever an operator can set or attach, on everything at once, is there after the
// upgrade, or on the successor that a step declares, and there again after the way back.
func TestDeckSurvives(t *testing.T) {
	t.Parallel()
	makeSpace(t)
	place := newCrowd(t)
	for _, release := range []string{"0.4.2", "0.6.0", "0.8.0", "0.9.0", "0.11.1"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			step := slices.Index(releases, release) + 1
			plain := newTwin(t, crowd{place.Container, t}, release, 21)
			for _, way := range []string{"up", "plan"} {
				t.Run(way, func(t *testing.T) {
					place := crowd{place.Container, t}
					db, conn := deckDatabase(t, "", release, 21)
					decorator := connect(t, db)
					execute(t, decorator, readFile(t, "testdata/deck.sql"))
					decorator.Close(context.Background())
					added, removed := readFacts(t, conn).beyond(plain.before)
					if way == "plan" {
						place.wantPlanned(environment(db))
					} else if o := place.act(environment(db), "up")["up"]; o.code != 0 {
						t.Fatal(o.log)
					}
					wantNewest(t, db)
					follow(step, added).want(t, plain.after, readFacts(t, conn), removed)
					o := place.act(environment(db, "MIGRATE_TARGET", strconv.Itoa(step)), "down")["down"]
					if o.code != 0 {
						t.Fatal(o.log)
					}
					wantBack(t, plain, added, removed, readFacts(t, conn))
				})
			}
		})
	}
}

// Nothing can be attached to a table that the reader of these tests does not see.
func TestFactsShowWhateverIsAttached(t *testing.T) {
	t.Parallel()
	makeSpace(t)
	db, conn := deckDatabase(t, "", "0.11.1", 3)
	execute(t, conn, `
		CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE INDEX x ON samples (lower(sample_name)); CREATE STATISTICS s ON id, project_id FROM samples; CREATE PUBLICATION p;
		CREATE TRIGGER g BEFORE INSERT ON samples FOR EACH ROW EXECUTE FUNCTION f(); CREATE POLICY l ON samples;
		CREATE RULE r AS ON INSERT TO samples DO ALSO NOTHING; CREATE VIEW v AS SELECT id FROM samples; SET allow_system_table_mods = on`)
	before := readFacts(t, conn)
	for statement := range strings.SplitSeq(strings.TrimSpace(`
ALTER TABLE samples OWNER TO deck_second
ALTER TABLE samples SET TABLESPACE deck_space
ALTER TABLE samples SET (fillfactor = 50)
ALTER TABLE samples SET (toast.vacuum_truncate = off)
ALTER TABLE samples ENABLE ROW LEVEL SECURITY
ALTER TABLE samples FORCE ROW LEVEL SECURITY
ALTER TABLE samples REPLICA IDENTITY FULL
ALTER TABLE samples REPLICA IDENTITY USING INDEX samples_guid_key
ALTER TABLE samples CLUSTER ON samples_pkey
ALTER TABLE bedbase_stats SET UNLOGGED
ALTER TABLE samples ALTER sample SET STATISTICS 5
ALTER TABLE samples ALTER sample SET STATISTICS 0
ALTER TABLE samples ALTER sample SET STORAGE EXTERNAL
ALTER TABLE samples ALTER sample SET COMPRESSION pglz
ALTER TABLE samples ALTER sample SET (n_distinct = 5)
ALTER TABLE samples DISABLE TRIGGER ALL
ALTER TABLE samples ENABLE REPLICA TRIGGER g
ALTER TABLE samples DISABLE RULE r
ALTER INDEX x SET (fillfactor = 50)
ALTER INDEX x SET TABLESPACE deck_space
ALTER INDEX x ALTER COLUMN 1 SET STATISTICS 9
ALTER INDEX samples_pkey SET (fillfactor = 50)
ALTER STATISTICS s SET STATISTICS 5
ALTER STATISTICS s OWNER TO deck_second
ALTER SEQUENCE samples_id_seq INCREMENT 2
ALTER SEQUENCE samples_id_seq CACHE 2
ALTER SEQUENCE samples_id_seq CYCLE
ALTER SEQUENCE samples_id_seq MINVALUE -1
ALTER SEQUENCE samples_id_seq MAXVALUE 100000
ALTER SEQUENCE samples_id_seq START 2
ALTER POLICY l ON samples USING (true)
ALTER POLICY l ON samples TO deck_second
ALTER PUBLICATION p ADD TABLE samples
ALTER PUBLICATION p ADD TABLE samples (id)
ALTER PUBLICATION p ADD TABLE samples WHERE (id > 1)
ALTER PUBLICATION p ADD TABLES IN SCHEMA public
ALTER PUBLICATION p SET (publish = 'insert')
ALTER VIEW v SET (security_barrier = true)
GRANT SELECT ON samples TO deck_reader
GRANT SELECT ON samples TO PUBLIC
GRANT SELECT (id) ON samples TO deck_reader
REVOKE INSERT ON samples FROM deck_owner
GRANT USAGE ON samples_id_seq TO deck_reader
GRANT USAGE ON TYPE updatetypes TO deck_reader
REVOKE USAGE ON TYPE samples FROM PUBLIC
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO deck_reader
COMMENT ON TABLE samples IS 'x'
COMMENT ON COLUMN samples.id IS 'x'
COMMENT ON CONSTRAINT samples_pkey ON samples IS 'x'
COMMENT ON INDEX samples_pkey IS 'x'
COMMENT ON INDEX x IS 'x'
COMMENT ON SEQUENCE samples_id_seq IS 'x'
COMMENT ON TYPE updatetypes IS 'x'
COMMENT ON TYPE samples IS 'x'
COMMENT ON STATISTICS s IS 'x'
COMMENT ON POLICY l ON samples IS 'x'
COMMENT ON TRIGGER g ON samples IS 'x'
COMMENT ON RULE r ON samples IS 'x'
COMMENT ON VIEW v IS 'x'
COMMENT ON PUBLICATION p IS 'x'
INSERT INTO pg_seclabel VALUES ('samples'::regclass, 'pg_class'::regclass, 0, 'x', 'y')
INSERT INTO pg_seclabel VALUES ('samples'::regclass, 'pg_class'::regclass, 1, 'x', 'y')
CREATE TABLE child () INHERITS (samples)
CREATE INDEX ON samples (id DESC)
CREATE UNIQUE INDEX ON samples (id, sample_name) NULLS NOT DISTINCT
CREATE TABLE c (id integer REFERENCES samples)
CREATE MATERIALIZED VIEW m AS SELECT guid FROM samples
CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION pg_catalog.unique_key_recheck()
`), "\n") {
		execute(t, conn, "BEGIN")
		if strings.Contains(statement, "EVENT TRIGGER") {
			execute(t, conn, "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
			statement = strings.Replace(statement, "pg_catalog.unique_key_recheck", "e", 1)
		}
		execute(t, conn, statement)
		added, removed := readFacts(t, conn).beyond(before)
		if len(added)+len(removed) == 0 {
			t.Errorf("does not show: %s", statement)
		}
		execute(t, conn, "ROLLBACK")
	}
	if after := readFacts(t, connect(t, db)); after.String() != before.String() {
		t.Errorf("another session sees it in other words:\n%s", diff(before.String(), after.String()))
	}
}

// hub is a database of one release to which a test attaches one thing after another. It
// is made anew when a run has changed it.
type hub struct {
	t        *testing.T
	place    crowd
	release  string
	action   string
	target   string
	template string
	db       string
	conn     *pgx.Conn
	plain    facts
}

func newHub(t *testing.T, place crowd, release, action, target string) *hub {
	t.Helper()
	h := &hub{t: t, place: crowd{place.Container, t}, release: release, action: action, target: target}
	var conn *pgx.Conn
	h.template, conn = deckDatabase(t, "_template", release, 21)
	if action == config.Down {
		if err := move(t, migrations.FS, h.template, config.Up, 0); err != nil {
			t.Fatal(err)
		}
	}
	h.plain = readFacts(t, conn)
	h.db = newDatabase(t)
	h.renew()
	return h
}

func (h *hub) renew() {
	h.t.Helper()
	if h.conn != nil {
		h.conn.Close(context.Background())
	}
	db, template := pgx.Identifier{h.db}.Sanitize(), pgx.Identifier{h.template}.Sanitize()
	admin := connect(h.t, "postgres")
	execute(h.t, admin, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '"+h.template+"'")
	execute(h.t, admin, "DROP DATABASE "+db+" WITH (FORCE)")
	execute(h.t, admin, "CREATE DATABASE "+db+" TEMPLATE "+template)
	admin.Close(context.Background())
	h.conn = connect(h.t, h.db)
}

func (h *hub) env() map[string]string { return environment(h.db, "MIGRATE_TARGET", h.target) }

// loseable is something that a step cannot keep: what makes it, in which every object's
// name begins with "mine", and the words by which the refusal names it. More than one
// line may.
type loseable struct{ prepare, words string }

// tidy drops what is left of a named thing when its remedy was taken: the operator's own
// tables, say.
const tidy = `
	DO $$
	DECLARE
		own text;
	BEGIN
		FOR own IN
			SELECT format('DROP %s IF EXISTS %s CASCADE', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, oid::regclass)
			FROM pg_class WHERE relname LIKE 'mine%' AND relkind IN ('r', 'v', 'm')
			UNION ALL
			SELECT format('DROP FUNCTION IF EXISTS %s CASCADE', oid::regprocedure) FROM pg_proc WHERE proname LIKE 'mine%'
			UNION ALL
			SELECT format('DROP PUBLICATION IF EXISTS %I', pubname) FROM pg_publication WHERE pubname LIKE 'mine%'
		LOOP
			EXECUTE own;
		END LOOP;
	END $$;
	DELETE FROM pg_seclabel WHERE provider LIKE 'mine%'`

// wantNamed attaches one thing, and fails the test unless a run refuses, names it, and
// changes nothing; and unless its remedy is one.
func (h *hub) wantNamed(t *testing.T, thing loseable) {
	t.Helper()
	execute(t, h.conn, "SET allow_system_table_mods = on;"+thing.prepare)
	first, ok := h.refused(t, []string{h.action}, thing)
	if ok {
		first.takeRemedies(t, h.conn)
		execute(t, h.conn, tidy)
		after := readFacts(t, h.conn)
		if ok = after.String() == h.plain.String(); !ok {
			t.Errorf("the remedies leave it otherwise than it was:\n%s", diff(h.plain.String(), after.String()))
		}
	}
	if !ok {
		h.renew()
	}
}

// refused fails the test unless every action refuses and names all the things. It reports
// whether they did and the database is as it was.
func (h *hub) refused(t *testing.T, actions []string, things ...loseable) (first outcome, ok bool) {
	t.Helper()
	before := readFacts(t, h.conn)
	outcomes := h.place.act(h.env(), actions...)
	first = outcomes[actions[0]]
	for _, action := range actions {
		o := outcomes[action]
		o.wantRefused(t)
		for _, thing := range things {
			if words := strings.Fields(thing.words); o.code == 7 && !o.names(words...) {
				t.Errorf("%s does not name %q but %q", action, words, o.objects())
			}
		}
		if !slices.Equal(o.objects(), first.objects()) {
			t.Errorf("%s names %q, and %s %q", actions[0], first.objects(), action, o.objects())
		}
	}
	after := readFacts(t, h.conn)
	if after.String() != before.String() {
		t.Errorf("it has changed:\n%s", diff(before.String(), after.String()))
	}
	return first, first.code == 7 && after.String() == before.String()
}

// takeRemedies does what the log says.
func (o outcome) takeRemedies(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	for _, l := range o.losses {
		if strings.Contains(l.remedy, "SECURITY LABEL") {
			execute(t, conn, "SET allow_system_table_mods = on; DELETE FROM pg_seclabel") // no provider is there that would do it
		} else if _, err := conn.PgConn().Exec(context.Background(), l.remedy).ReadAll(); err != nil {
			t.Errorf("the remedy for %s: %v: %s", l.object, err, l.remedy)
		}
	}
}

// wantAllNamed attaches all the things at once. One run names them all, whatever its
// action; and once the remedies are taken, the next one ends well.
func (h *hub) wantAllNamed(t *testing.T, things []loseable) {
	t.Helper()
	all := slices.Clone(things)
	for i, thing := range all {
		name := fmt.Sprint("mine", i)
		all[i] = loseable{mine.ReplaceAllString(thing.prepare, name), mine.ReplaceAllString(thing.words, name)}
		execute(t, h.conn, "SET allow_system_table_mods = on;"+all[i].prepare)
	}
	before := dump(t, h.db)
	actions := []string{h.action}
	if h.action == config.Up {
		actions = []string{config.Up, config.Check, config.Plan}
	}
	first, ok := h.refused(t, actions, all...)
	wantUnchanged(t, h.db, before)
	if !ok {
		return
	}
	for range 3 {
		first.takeRemedies(t, h.conn)
		if first = h.place.act(h.env(), h.action)[h.action]; first.code == 0 {
			return
		}
	}
	t.Errorf("the remedies do not help: %s", first.log)
}

var mine = regexp.MustCompile(`\bmine`)

// fire makes a function for triggers.
const fire = "CREATE FUNCTION mine_f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"

// onTable are the things that go with a table, which has a column id.
func onTable(table string) []loseable {
	return []loseable{
		{"CREATE POLICY mine ON " + table + " USING (id > 0)", "policy mine " + table},
		{fire + "CREATE TRIGGER mine BEFORE UPDATE ON " + table + " FOR EACH ROW EXECUTE FUNCTION mine_f()", "trigger mine " + table},
		{"CREATE RULE mine AS ON DELETE TO " + table + " DO INSTEAD NOTHING", "rule mine " + table},
		{"CREATE INDEX mine ON " + table + " (id DESC)", "index mine " + table},
		{"CREATE STATISTICS mine ON id, namespace FROM " + table, "statistics mine " + table},
		{"CREATE VIEW mine AS SELECT id FROM " + table, "view mine"},
		{"CREATE MATERIALIZED VIEW mine AS SELECT id FROM " + table, "view mine"},
		{"CREATE TABLE mine (ref integer CONSTRAINT mine_fkey REFERENCES " + table + ")", "mine_fkey mine"},
	}
}

// onColumn are the things that go with a column, of which the type is something that can
// be text.
func onColumn(table, column string) []loseable {
	at := table + " " + column
	return []loseable{
		{"COMMENT ON COLUMN " + table + "." + column + " IS 'x'", "comment " + at},
		{"ALTER TABLE " + table + " ALTER " + column + " SET STATISTICS 33", at},
		{"ALTER TABLE " + table + " ALTER " + column + " SET (n_distinct = 5)", at},
		{"CREATE INDEX mine ON " + table + " ((" + column + "::text))", "index mine " + table},
		{"CREATE INDEX mine ON " + table + " (id) WHERE " + column + "::text <> 'x'", "index mine " + table},
		{"CREATE STATISTICS mine ON (" + column + "::text) FROM " + table, "statistics mine " + table},
		{"CREATE VIEW mine AS SELECT " + column + " FROM " + table, "view mine"},
		{"CREATE POLICY mine ON " + table + " USING (" + column + "::text <> 'x')", "policy mine " + table},
		{fire + "CREATE TRIGGER mine BEFORE UPDATE OF " + column + " ON " + table + " FOR EACH ROW EXECUTE FUNCTION mine_f()", "trigger mine " + table},
		{fire + "CREATE TRIGGER mine BEFORE INSERT ON " + table + " FOR EACH ROW WHEN (NEW." + column + "::text <> 'x') EXECUTE FUNCTION mine_f()", "trigger mine " + table},
		{"CREATE RULE mine AS ON UPDATE TO " + table + " WHERE OLD." + column + "::text = 'x' DO INSTEAD NOTHING", "rule mine " + table},
		{"CREATE PUBLICATION mine FOR TABLE " + table + " (id, " + column + ") WITH (publish = 'insert')", "publication mine " + table},
		{"CREATE PUBLICATION mine FOR TABLE " + table + " WHERE (" + column + " IS NOT NULL) WITH (publish = 'insert')", "publication mine " + table},
		{"CREATE FUNCTION mine_f() RETURNS bigint BEGIN ATOMIC SELECT count(" + column + ") FROM " + table + "; END", "function mine_f"},
		{"INSERT INTO pg_seclabel SELECT attrelid, 'pg_class'::regclass, attnum, 'mine', 'x' FROM pg_attribute WHERE (attrelid, attname) = ('" + table + "'::regclass, '" + column + "')", "label " + at},
	}
}

// What can neither stay nor move is named, by check and plan too, before anything is
// done; once the remedies are taken, the upgrade goes through.
func TestLossesAreNamed(t *testing.T) {
	t.Parallel()
	place := newCrowd(t)
	withSchemas := slices.Concat(onTable("schemas"), onTable("schema_groups"), onColumn("projects", "pep_schema"), []loseable{
		{"CREATE POLICY mine ON schema_group_relations USING (group_id > 0)", "policy mine schema_group_relations"},
		{"CREATE INDEX mine ON schema_group_relations (group_id DESC)", "index mine schema_group_relations"},
		{"CREATE VIEW mine AS SELECT group_id FROM schema_group_relations", "view mine"},
		{"COMMENT ON TABLE schema_groups IS 'x'", "comment schema_groups"},
		{"COMMENT ON COLUMN schema_groups.name IS 'x'", "comment schema_groups name"},
		{"COMMENT ON INDEX ix_schemas_name IS 'x'", "comment ix_schemas_name"},
		{"COMMENT ON CONSTRAINT schema_groups_pkey ON schema_groups IS 'x'", "comment schema_groups_pkey"},
		{"COMMENT ON SEQUENCE schema_groups_id_seq IS 'x'", "comment schema_groups_id_seq"},
		{"ALTER TABLE schema_groups SET (fillfactor = 50)", "schema_groups"},
		{"ALTER TABLE schema_group_relations REPLICA IDENTITY FULL", "schema_group_relations"},
		{"ALTER TABLE schema_groups ALTER name SET STATISTICS 7", "schema_groups name"},
		{"ALTER INDEX ix_schemas_name SET (fillfactor = 50)", "ix_schemas_name"},
		{"ALTER SEQUENCE schema_groups_id_seq CACHE 5", "schema_groups_id_seq"},
		{"CREATE TABLE mine (id integer DEFAULT nextval('schemas_id_seq'))", "mine"},
		{"CREATE TABLE mine (one schemas)", "mine"},
		{"CREATE FUNCTION mine_f() RETURNS SETOF schemas LANGUAGE sql AS 'SELECT * FROM schemas'", "mine_f"},
		{"CREATE FUNCTION mine_f() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM schema_groups; END", "mine_f"},
		{"CREATE PUBLICATION mine FOR TABLE schemas (id, name) WITH (publish = 'insert')", "publication mine schemas"},
		{"CREATE PUBLICATION mine FOR TABLE schemas WHERE (NOT private) WITH (publish = 'insert')", "publication mine schemas"},
		{"INSERT INTO pg_seclabel VALUES ('schemas'::regclass, 'pg_class'::regclass, 0, 'mine', 'x')", "label schemas"},
	})
	rowNumber := []loseable{
		{"COMMENT ON COLUMN samples.row_number IS 'x'", "comment samples row_number"},
		{"ALTER TABLE samples ALTER row_number SET STATISTICS 33", "samples row_number"},
		{"CREATE INDEX mine ON samples (project_id, row_number)", "index mine samples"},
		{"CREATE STATISTICS mine ON project_id, row_number FROM samples", "statistics mine samples"},
		{"CREATE VIEW mine AS SELECT row_number FROM samples", "view mine"},
		{"CREATE PUBLICATION mine FOR TABLE samples (id, row_number) WITH (publish = 'insert')", "publication mine samples"},
		{"GRANT SELECT (row_number) ON samples TO deck_reader", "samples row_number"},
	}
	// What the way up gives to a table by itself goes with it unasked; anything else does
	// not.
	back := slices.Concat(onTable("schema_records"), onColumn("schema_records", "maintainers"), []loseable{
		{"COMMENT ON TABLE schema_versions IS 'x'", "comment schema_versions"},
		{"COMMENT ON COLUMN users.number_of_schemas IS 'x'", "comment users number_of_schemas"},
		{"CREATE INDEX mine ON schema_tags (tag_value)", "index mine schema_tags"},
		{"CREATE POLICY mine ON schema_versions USING (id > 0)", "policy mine schema_versions"},
		{"GRANT SELECT ON schema_versions TO deck_reader", "schema_versions"},
	})
	for _, test := range []struct {
		release, action, target string
		things                  []loseable
	}{
		{"0.11.1", config.Up, newest, withSchemas},
		{"0.8.0", config.Up, newest, rowNumber},
		{"0.4.2", config.Up, newest, onColumn("projects", "project_value")},
		{"0.2.3", config.Up, newest, []loseable{
			{"COMMENT ON COLUMN projects.anno_info IS 'x'", "comment projects anno_info"},
			{"CREATE INDEX mine ON projects ((anno_info::text))", "index mine projects"},
		}},
		{"0.11.1", config.Down, "13", back},
		{"0.8.0", config.Down, "9", []loseable{
			{"CREATE INDEX mine ON samples (guid, id)", "index mine samples"},
			{"COMMENT ON COLUMN samples.guid IS 'x'", "comment samples guid"},
			{"COMMENT ON TABLE project_history IS 'x'", "comment project_history"},
			{"COMMENT ON TYPE updatetypes IS 'x'", "comment updatetypes"},
		}},
	} {
		t.Run(test.release+"_"+test.action, func(t *testing.T) {
			t.Parallel()
			h := newHub(t, place, test.release, test.action, test.target)
			for _, thing := range test.things {
				t.Run(thing.prepare[:min(len(thing.prepare), 60)], func(t *testing.T) { h.wantNamed(t, thing) })
			}
			h.wantAllNamed(t, test.things)
		})
	}
}

// ownedDatabase is a database whose owner, the login role deck_pephub, is no superuser.
func ownedDatabase(t *testing.T, suffix string, files ...string) (string, *pgx.Conn) {
	t.Helper()
	db := newDatabaseNamed(t, suffix, files...)
	conn := connect(t, db)
	execute(t, conn, readFile(t, "testdata/deck-roles.sql")+`
		DO $$
		DECLARE
			name text;
		BEGIN
			BEGIN
				IF to_regrole('deck_pephub') IS NULL THEN
					CREATE ROLE deck_pephub LOGIN PASSWORD '`+otherPassword+`';
				END IF;
			EXCEPTION
				WHEN unique_violation THEN
					NULL;
			END;
			GRANT CREATE ON SCHEMA public TO deck_pephub;
			FOR name IN SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
				EXECUTE format('ALTER TABLE %s OWNER TO deck_pephub', name);
			END LOOP;
			IF to_regtype('updatetypes') IS NOT NULL THEN
				ALTER TYPE updatetypes OWNER TO deck_pephub;
			END IF;
		END
		$$`)
	return db, conn
}

// asOwner is the environment of a run that connects as the owner.
func asOwner(db string) map[string]string {
	return environment(db, "POSTGRES_USER", "deck_pephub", "POSTGRES_PASSWORD", otherPassword)
}

// as runs a statement as another role, and returns its first value, or what became of it.
func as(t *testing.T, conn *pgx.Conn, role, sql string) string {
	t.Helper()
	execute(t, conn, "SET ROLE "+role)
	defer execute(t, conn, "RESET ROLE")
	results, err := conn.PgConn().Exec(context.Background(), sql).ReadAll()
	switch {
	case err != nil && strings.Contains(err.Error(), "permission denied"):
		return "refused"
	case err != nil:
		t.Fatal(err)
	case len(results[0].Rows) > 0:
		return string(results[0].Rows[0][0])
	}
	return results[0].CommandTag.String()
}

// wantUp runs an upgrade that must end well.
func (c crowd) wantUp(env map[string]string) outcome {
	c.t.Helper()
	o := c.act(env, config.Up)[config.Up]
	if o.code != 0 {
		c.t.Fatal(o.log)
	}
	return o
}

// wantPlanned is wantUp by the plan, as psql runs it. What it notices is no complaint.
func (c crowd) wantPlanned(env map[string]string) {
	c.t.Helper()
	if said := c.planned(env); regexp.MustCompile(`(?m)^(plan|psql) \d+$`).MatchString(said) {
		c.t.Fatal(said)
	}
}

// tablesBut are the tables of a database that were not there before.
func tablesBut(t *testing.T, conn *pgx.Conn, before []string) []string {
	t.Helper()
	return slices.DeleteFunc(tableNames(t, conn), func(table string) bool { return slices.Contains(before, table) })
}

func tableNames(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	return query(t, conn, "SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1")
}

// A table that the upgrade makes is no more open than the one that its rows came from.
func TestRowSecurityGoesOn(t *testing.T) {
	t.Parallel()
	place := newCrowd(t)
	for name, test := range map[string]struct {
		files             []string
		secured, of, says string
	}{
		"0.4.2":  {[]string{"pepdbagent-0.4.2.sql", "rows-0.4.2.sql"}, "projects", "", "samples"},
		"0.6.0":  {[]string{"pepdbagent-0.6.0.sql", "rows-0.6.sql"}, "projects", "", "users"},
		"0.11.1": {v0111, "schemas", "^schema_(records|versions)$", "schema_records"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := crowd{place.Container, t}
			db, conn := ownedDatabase(t, "", test.files...)
			execute(t, conn, "ALTER TABLE "+test.secured+" ENABLE ROW LEVEL SECURITY; GRANT SELECT, DELETE ON "+test.secured+" TO deck_stranger")
			before := tableNames(t, conn)
			o := place.wantUp(asOwner(db))
			if !regexp.MustCompile(`level=WARN .*\b` + test.says + `\b`).MatchString(o.log) {
				t.Errorf("no warning names %s:\n%s", test.says, o.log)
			}
			filled := 0
			for _, table := range tablesBut(t, conn, before) {
				if !regexp.MustCompile(test.of).MatchString(table) || table == "schema_migrations" || table == "alembic_version" {
					continue
				}
				if got := as(t, conn, "deck_stranger", "SELECT count(*) FROM "+table); got != "0" && got != "refused" {
					t.Errorf("deck_stranger sees %s rows of %s", got, table)
				}
				if got := as(t, conn, "deck_stranger", "DELETE FROM "+table); got != "DELETE 0" && got != "refused" {
					t.Errorf("deck_stranger may %s from %s", got, table)
				}
				if as(t, conn, "deck_pephub", "SELECT count(*) FROM "+table) != "0" {
					filled++
				}
			}
			if filled < 2 {
				t.Errorf("the owner sees rows in %d tables only", filled)
			}
		})
	}
	for name, test := range map[string]struct{ release, table string }{"projects": {"0.6.0", "projects"}, "schemas": {"0.11.1", "schemas"}} {
		t.Run("forced on "+name, func(t *testing.T) {
			t.Parallel()
			place := crowd{place.Container, t}
			db, conn := ownedDatabase(t, "", "pepdbagent-"+test.release+".sql")
			execute(t, conn, "ALTER TABLE "+test.table+" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
			before := dump(t, db)
			if o := place.act(asOwner(db), config.Up)[config.Up]; !slices.Contains([]int{5, 6, 7}, o.code) || !hasWord(o.log, test.table) {
				t.Errorf("exit code %d: %s", o.code, o.lastLine())
			}
			wantUnchanged(t, db, before)
		})
	}
}

// Grants come from the table that the rows came from, and from nowhere else.
func TestGrantsComeFromTheRightTable(t *testing.T) {
	t.Parallel()
	place := newCrowd(t)
	t.Run("schemas", func(t *testing.T) {
		t.Parallel()
		place := crowd{place.Container, t}
		db, conn := ownedDatabase(t, "", v0111...)
		execute(t, conn, `
			GRANT SELECT ON schemas TO deck_reader; GRANT SELECT ON projects TO deck_second; GRANT SELECT ON schemas TO deck_writer WITH GRANT OPTION;
			GRANT SELECT (id, name), UPDATE (schema_json) ON schemas TO deck_column; GRANT USAGE ON SEQUENCE schemas_id_seq TO deck_reader`)
		place.wantUp(asOwner(db))
		for _, table := range []string{"schema_records", "schema_versions"} {
			wantRows(t, db, fmt.Sprintf(`
				SELECT concat_ws(' ', r, has_table_privilege(r, '%[1]s', 'SELECT'), has_table_privilege(r, '%[1]s', 'SELECT WITH GRANT OPTION'),
					has_table_privilege(r, '%[1]s', 'INSERT'), has_sequence_privilege(r, '%[1]s_id_seq', 'USAGE'))
				FROM unnest(ARRAY['deck_reader', 'deck_second', 'deck_writer', 'deck_column']) AS r`, table),
				"deck_reader t f f t", "deck_second f f f f", "deck_writer t t f f", "deck_column f f f f")
		}
		wantRows(t, db, `
			SELECT a.attrelid::regclass || '.' || a.attname
			FROM pg_attribute AS a
			WHERE a.attrelid IN ('schema_records'::regclass, 'schema_versions'::regclass) AND a.attnum > 0 AND a.attname NOT LIKE '%id'
				AND (has_column_privilege('deck_column', a.attrelid, a.attnum, 'SELECT') OR has_column_privilege('deck_column', a.attrelid, a.attnum, 'UPDATE'))
			ORDER BY 1`, "schema_records.name", "schema_versions.schema_value")
	})
	for _, release := range []string{"0.4.2", "0.8.0", "0.11.1"} {
		t.Run("default privileges "+release, func(t *testing.T) {
			t.Parallel()
			place := crowd{place.Container, t}
			step := slices.Index(releases, release) + 1
			db, conn := ownedDatabase(t, "", "pepdbagent-"+release+".sql")
			execute(t, conn, generate(step, 21, step)+`
				ALTER DEFAULT PRIVILEGES FOR ROLE deck_pephub GRANT SELECT ON TABLES TO PUBLIC;
				ALTER DEFAULT PRIVILEGES FOR ROLE deck_pephub IN SCHEMA public GRANT SELECT ON TABLES TO deck_stranger`)
			before := tableNames(t, conn)
			place.wantUp(asOwner(db))
			made := tablesBut(t, conn, before)
			if len(made) < 3 {
				t.Errorf("only %q were made", made)
			}
			for _, table := range made {
				if got := as(t, conn, "deck_stranger", "SELECT count(*) FROM "+table); got != "refused" {
					t.Errorf("deck_stranger reads %s", table)
				}
			}
		})
	}
}

// A table that shares its rows or its columns with one of PEPhub's is refused by name.
func TestRelativesAreRefused(t *testing.T) {
	t.Parallel()
	place := newCrowd(t)
	for name, test := range map[string]struct{ release, prepare, names string }{
		"child":       {"0.8.0", "CREATE TABLE attic (reason text) INHERITS (samples); INSERT INTO attic (id, sample, row_number, reason) VALUES (900, '{}', 0, 'old')", "attic"},
		"child of id": {"0.4.2", "CREATE TABLE attic (reason text) INHERITS (projects)", "attic"},
		"own users":   {"0.8.0", "CREATE TABLE my_users () INHERITS (users)", "my_users"},
		"of schemas":  {"0.11.1", "CREATE SCHEMA other; CREATE TABLE other.attic () INHERITS (schemas)", "attic"},
		"parent":      {"0.8.0", "CREATE TABLE everything (sample json NOT NULL); ALTER TABLE samples INHERIT everything", "samples"},
		"partition": {"0.8.0", `CREATE TABLE everything (id integer NOT NULL, namespace varchar NOT NULL) PARTITION BY RANGE (id);
			ALTER TABLE everything ATTACH PARTITION users FOR VALUES FROM (0) TO (1000000)`, "users"},
		"typed": {"0.8.0", "CREATE TYPE one_user AS (id integer, namespace varchar); ALTER TABLE users OF one_user", "users"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := crowd{place.Container, t}
			step := slices.Index(releases, test.release) + 1
			db, conn := ownedDatabase(t, "", "pepdbagent-"+test.release+".sql")
			execute(t, conn, "GRANT CREATE ON DATABASE "+pgx.Identifier{db}.Sanitize()+" TO deck_pephub; SET ROLE deck_pephub;"+test.prepare)
			execute(t, conn, generate(step, 21, step))
			before := dump(t, db)
			for action, o := range place.act(environment(db), config.Check, config.Plan, config.Up) {
				if o.code != 6 || !hasWord(o.log, test.names) {
					t.Errorf("%s: exit code %d, want 6 and %s to be named: %s", action, o.code, test.names, o.lastLine())
				}
			}
			wantUnchanged(t, db, before)
		})
	}
}

// An archive of an earlier upgrade is none of this one's, unless that makes one by its
// name.
func TestOldArchivesStayAsTheyAre(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, "pepdbagent-0.8.0.sql")
	conn := connect(t, db)
	one, other := db+"_one", db+"_other"
	execute(t, conn, fmt.Sprintf("CREATE ROLE %q; CREATE ROLE %q", one, other))
	t.Cleanup(func() {
		execute(t, connect(t, db), fmt.Sprintf("DROP OWNED BY %[1]q, %[2]q; DROP ROLE %[1]q, %[2]q", one, other))
	})
	execute(t, conn, fmt.Sprintf(`CREATE TABLE archived_users (secret text);
		GRANT SELECT ON users TO %[1]q WITH GRANT OPTION; GRANT SELECT ON archived_users TO %[2]q;
		SET ROLE %[1]q; GRANT SELECT ON users TO %[2]q; RESET ROLE`, one, other))
	acl := query(t, conn, "SELECT relacl::text FROM pg_class WHERE relname = 'archived_users'")
	migrate(t, environment(db)).want(t, 0)
	wantRows(t, db, "SELECT relacl::text FROM pg_class WHERE relname = 'archived_users'", acl...)
}

// A foreign key to users keeps them from becoming one, and is named before anything is
// done; so is a grant on a table of groups that nothing takes over.
func TestWhatAStepWouldFindIsNamedBefore(t *testing.T) {
	for name, test := range map[string]struct{ release, prepare, says string }{
		"key to users that become one": {
			"0.8.0", "INSERT INTO users (namespace) VALUES ('twice'), ('twice'); CREATE TABLE prefs (u integer CONSTRAINT mine REFERENCES users)",
			"foreign key mine of table public.prefs, which refers to table users, rows of which become one",
		},
		"grant on groups alone": {"0.11.1", "GRANT INSERT ON schema_groups TO pg_monitor", "INSERT on table schema_groups for pg_monitor"},
		"function that groups by the key": {
			"0.4.2", "CREATE FUNCTION f() RETURNS SETOF varchar BEGIN ATOMIC SELECT digest FROM projects GROUP BY namespace, name, tag; END",
			"function public.f(), which needs constraint id of table projects",
		},
		"equal ids": {
			"0.4.2", `INSERT INTO projects (id, namespace, name, tag, digest, project_value, private, number_of_samples, submission_date, last_update_date)
				SELECT 7, 'a', n, 't', 'd', '{}', false, 0, now(), now() FROM unnest('{x,y}'::text[]) AS n`,
			"a/x:t and a/y:t have the same id 7",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, "pepdbagent-"+test.release+".sql")
			execute(t, connect(t, db), test.prepare)
			before := dump(t, db)
			for _, action := range []string{"check", "plan", "up"} {
				migrate(t, environment(db, "MIGRATE_ACTION", action)).want(t, 7, test.says, "nothing was done")
			}
			wantUnchanged(t, db, before)
		})
	}
}

// Of two PEPhubs in one database, each in a schema of its own, one is upgraded.
func TestAnotherPEPhubOnTheSearchPath(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, "pepdbagent-0.12.3.sql")
	conn := connect(t, db)
	execute(t, conn, "ALTER SCHEMA public RENAME TO newer; CREATE SCHEMA older; CREATE TABLE newer.archived_project_pep_schemas (x text)")
	execute(t, conn, "SET search_path = older; "+readFile(t, "testdata/pepdbagent-0.9.0.sql"))
	execute(t, conn, fmt.Sprintf("ALTER DATABASE %q SET search_path = older, newer", db))
	before := dump(t, db, "--schema=newer")
	migrate(t, environment(db)).want(t, 0, "schema=older step=10", "to step "+newest)
	if after := dump(t, db, "--schema=newer"); after != before {
		t.Error(diff(before, after))
	}
}

// A child that is made between the look and the lock is seen under the lock.
func TestChildIsMadeMeanwhile(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, "pepdbagent-0.8.0.sql")
	conn := connect(t, db)
	execute(t, conn, "INSERT INTO users (namespace) VALUES ('twice'), ('twice')")
	other := connect(t, db)
	execute(t, other, "BEGIN; CREATE TABLE attic (reason text) INHERITS (users); INSERT INTO attic VALUES (77, 'twice', 'kept')")
	done := make(chan result, 1)
	go func() {
		run, err := runImage(context.Background(), environment(db, "WAIT_TIMEOUT", "20s"))
		if err != nil {
			t.Error(err)
		}
		done <- run
	}()
	waitFor(t, conn, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'ShareUpdateExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))::text")
	execute(t, other, "COMMIT")
	run := <-done
	run.want(t, 6, "table public.attic, which inherits from users")
	wantRows(t, db, "SELECT reason FROM attic", "kept")
}

// waitFor waits until a query returns true.
func waitFor(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	for range 400 {
		if slices.Equal(query(t, conn, sql), []string{"true"}) {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Error("it does not come about: ", sql)
}

// Successors join the publication of their source, and nothing that the steps make for
// themselves is ever published.
func TestPublicationsGoOn(t *testing.T) {
	t.Parallel()
	place := newCrowd(t)
	published := func(t *testing.T, db string, want ...string) {
		t.Helper()
		wantRows(t, db, "SELECT tablename FROM pg_publication_tables WHERE pubname = 'c' ORDER BY 1", want...)
	}
	t.Run("schemas", func(t *testing.T) {
		t.Parallel()
		place := crowd{place.Container, t}
		db, conn := ownedDatabase(t, "", v0111...)
		execute(t, conn, "CREATE PUBLICATION c FOR TABLE schemas")
		place.wantUp(environment(db))
		published(t, db, "schema_records", "schema_versions")
		if o := place.act(environment(db, "MIGRATE_TARGET", "13"), config.Down)[config.Down]; o.code != 0 {
			t.Fatal(o.log)
		}
		published(t, db, "schemas")
	})
	t.Run("not the owner's", func(t *testing.T) {
		t.Parallel()
		place := crowd{place.Container, t}
		db, conn := ownedDatabase(t, "", v0111...)
		execute(t, conn, "CREATE PUBLICATION c FOR TABLE schemas")
		before := readFacts(t, conn)
		o := place.act(asOwner(db), config.Up)[config.Up]
		if o.wantRefused(t); !o.names("publication", "c") {
			t.Errorf("named are %q", o.objects())
		}
		if after := readFacts(t, conn); after.String() != before.String() {
			t.Errorf("it has changed:\n%s", diff(before.String(), after.String()))
		}
	})
	for _, release := range []string{"0.2.3", "0.4.2", "0.6.0", "0.8.0", "0.11.1"} {
		t.Run("all tables "+release, func(t *testing.T) {
			t.Parallel()
			place := crowd{place.Container, t}
			step := slices.Index(releases, release) + 1
			db, conn := ownedDatabase(t, "", "pepdbagent-"+release+".sql")
			execute(t, conn, generate(step, 21, step)+`
				CREATE PUBLICATION c FOR ALL TABLES;
				CREATE SCHEMA watch; CREATE TABLE watch.made (name text, persistence text); ALTER TABLE watch.made REPLICA IDENTITY FULL;
				GRANT USAGE ON SCHEMA watch TO PUBLIC; GRANT ALL ON watch.made TO PUBLIC;
				CREATE FUNCTION watch.see() RETURNS event_trigger LANGUAGE plpgsql AS $$
				BEGIN
					INSERT INTO watch.made
					SELECT c.relname, c.relpersistence
					FROM pg_event_trigger_ddl_commands() AS d
					JOIN pg_class AS c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass AND c.relkind = 'r';
				END $$;
				CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO') EXECUTE FUNCTION watch.see()`)
			before := readContent(t, conn)
			place.wantUp(environment(db))
			back := place.act(environment(db, "MIGRATE_TARGET", strconv.Itoa(step)), config.Down)[config.Down]
			if back.code != 0 {
				t.Fatal(back.log)
			}
			sameContent(t, restorable(t, before, step), restorable(t, readContent(t, conn), step))
			wantRows(t, db, "SELECT DISTINCT name || ' ' || persistence FROM watch.made WHERE (name LIKE 'pephub\\_migrate%') <> (persistence <> 'p')")
			place.wantUp(environment(db))
			// What has no key cannot be deleted from while it is published.
			wantRows(t, db, `
				SELECT relname FROM pg_class
				WHERE relname LIKE 'archived%' AND relkind = 'r' AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = pg_class.oid AND indisprimary)`)
		})
	}
}

// An index may be on a function that finds another in the rest of the path.
func TestOwnSearchPathStays(t *testing.T) {
	t.Parallel()
	place := newCrowd(t)
	for _, way := range []string{"up", "plan"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			place := crowd{place.Container, t}
			db, conn := ownedDatabase(t, "", "pepdbagent-0.8.0.sql")
			execute(t, conn, `
				CREATE SCHEMA extensions AUTHORIZATION deck_pephub; ALTER DATABASE `+db+` SET search_path = public, extensions; SET search_path = public, extensions;
				CREATE FUNCTION extensions.unaccented(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT translate($1, 'é', 'e') $$;
				CREATE FUNCTION extensions.norm(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN lower(unaccented($1)); END $$;
				ALTER FUNCTION extensions.unaccented OWNER TO deck_pephub; ALTER FUNCTION extensions.norm OWNER TO deck_pephub;
				CREATE INDEX mine ON samples (extensions.norm(sample_name))`)
			execute(t, conn, generate(9, 21, 9))
			const index = "SELECT pg_get_indexdef('mine'::regclass)"
			was := query(t, conn, index)
			if way == "plan" {
				place.wantPlanned(asOwner(db))
			} else {
				place.wantUp(asOwner(db))
			}
			wantRows(t, db, index, was...)
		})
	}
}

// What needs more rights than the owner's is done with those of the login role, or said.
func TestForeignKeyOfAnotherOwner(t *testing.T) {
	t.Parallel()
	place := newCrowd(t)
	for name, env := range map[string]func(string) map[string]string{
		"superuser": func(db string) map[string]string { return environment(db) },
		"owner":     asOwner,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := crowd{place.Container, t}
			db, conn := ownedDatabase(t, "", "pepdbagent-0.8.0.sql")
			execute(t, conn, generate(9, 21, 9)+`
				CREATE SCHEMA private; CREATE TABLE private.notes (sample_id integer CONSTRAINT notes_sample REFERENCES samples ON DELETE CASCADE);
				COMMENT ON CONSTRAINT notes_sample ON private.notes IS 'mine';
				GRANT REFERENCES ON samples TO deck_second; ALTER TABLE private.notes OWNER TO deck_second; ALTER SCHEMA private OWNER TO deck_second`)
			before := readFacts(t, conn)
			o := place.act(env(db), config.Up)[config.Up]
			after := readFacts(t, conn)
			switch {
			case o.code == 0:
				for key, value := range before {
					if strings.HasPrefix(key.object, "constraint private.") && after[key] != value {
						t.Errorf("%v was %s and is %s", key, value, after[key])
					}
				}
			case name == "owner" && (o.code == 5 || o.code == 7):
				if !hasWord(o.log, "notes_sample") || !hasWord(o.log, "deck_second") {
					t.Errorf("it does not say which key, and who must drop it:\n%s", o.log)
				}
				if after.String() != before.String() {
					t.Errorf("it has changed:\n%s", diff(before.String(), after.String()))
				}
			default:
				t.Errorf("exit code %d: %s", o.code, o.lastLine())
			}
		})
	}
}

// What has the name of one of PEPhub's tables and is not as PEPhub makes it, is a
// difference.
func TestOddRelationsDiffer(t *testing.T) {
	t.Parallel()
	place := newCrowd(t)
	for name, test := range map[string]struct{ release, prepare, names string }{
		"unlogged stats":    {"0.11.1", "ALTER TABLE bedbase_stats SET UNLOGGED", "bedbase_stats"},
		"unlogged archives": {"0.11.1", "ALTER TABLE namespace_archives SET UNLOGGED", "namespace_archives"},
		"no sequence":       {"0.11.1", "ALTER TABLE bedbase_stats ALTER id DROP DEFAULT; DROP SEQUENCE bedbase_stats_id_seq", "bedbase_stats"},
		"view":              {"0.11.0", "CREATE VIEW bedbase_stats AS SELECT 1 AS id", "bedbase_stats"},
		"materialized view": {"0.11.0", "CREATE MATERIALIZED VIEW namespace_archives AS SELECT 1 AS id", "namespace_archives"},
		"sequence":          {"0.11.0", "CREATE SEQUENCE bedbase_stats", "bedbase_stats"},
		"partitioned":       {"0.11.0", "CREATE TABLE bedbase_stats (id integer) PARTITION BY LIST (id)", "bedbase_stats"},
		"composite type":    {"0.6.0", "CREATE TYPE users AS (id integer)", "users"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := crowd{place.Container, t}
			db := newDatabase(t, "pepdbagent-"+test.release+".sql")
			execute(t, connect(t, db), test.prepare)
			before := dump(t, db)
			for action, o := range place.act(environment(db), config.Check, config.Up) {
				if o.code != 6 || !hasWord(o.log, test.names) {
					t.Errorf("%s: exit code %d, want 6 and %s to be named: %s", action, o.code, test.names, o.lastLine())
				}
			}
			wantUnchanged(t, db, before)
		})
	}
}
