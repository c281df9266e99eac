package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// sent is a statement of another program.
type sent struct {
	of  string // the table or enum that it makes; if that is there, it is not sent
	sql string
}

// recorded returns what pepdbagent sends for one of the starts in testdata/starts.txt.
func recorded(t *testing.T, start string) []sent {
	t.Helper()
	_, order, ok := strings.Cut(readFile(t, "testdata/starts.txt"), "\n"+start+": ")
	if !ok {
		t.Fatalf("starts.txt does not say %q", start)
	}
	order, _, _ = strings.Cut(order, "\n")
	release, _, _ := strings.Cut(start, " ")
	var sends []sent
	for name := range strings.FieldsSeq(order) {
		sends = append(sends, creates(t, release, name)...)
	}
	return sends
}

// creates returns the statements by which a release makes a table or an enum: one message
// for all that CREATE TABLE makes at once, and one for each index.
func creates(t *testing.T, release, wanted string) []sent {
	t.Helper()
	whole := sent{of: wanted}
	var indexes []sent
	for name, statement := range dumped(t, release) {
		switch {
		case name != wanted:
		case strings.HasPrefix(statement, "CREATE INDEX"):
			indexes = append(indexes, sent{name, statement})
		case strings.HasPrefix(statement, "CREATE SEQUENCE"):
			// For a column of type serial, the server makes it before the table.
			whole.sql = statement + ";\n" + whole.sql
		default:
			whole.sql += statement + ";\n"
		}
	}
	if whole.sql == "" {
		t.Fatalf("pepdbagent %s makes no %s", release, wanted)
	}
	return append([]sent{whole}, indexes...)
}

const (
	createAlembicVersion = "CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY)"
	stamp0111            = "INSERT INTO alembic_version VALUES ('44cb1e7a80de')"
)

// byAlembic returns what pepdbagent 0.12 with run_migrations=True sends to a database of
// 0.11.1 that is stamped, or to an empty one.
func byAlembic(t *testing.T, empty bool) []sent {
	t.Helper()
	var sends []sent
	if empty {
		sends = slices.Concat([]sent{{sql: createAlembicVersion}}, recorded(t, "0.11.1 by Alembic"), []sent{{sql: stamp0111}})
	}
	sends = append(sends, recorded(t, "0.12.3 by Alembic")...)
	for statement := range strings.SplitSeq(readFile(t, "testdata/alembic-0.12.sql"), ";\n") {
		sends = append(sends, sent{sql: statement})
	}
	return sends
}

// program is another program that changes tables.
type program struct {
	conn  *pgx.Conn
	sends []sent
	pause time.Duration // before each statement
}

// start asks for each table whether it is there, and then makes those that are not, as
// SQLAlchemy does. It ends with the first error.
func (p program) start() error {
	there := map[string]bool{}
	for _, one := range p.sends {
		if _, asked := there[one.of]; asked || one.of == "" {
			continue
		}
		found, err := p.has(one.of)
		if err != nil {
			return err
		}
		there[one.of] = found
	}
	for _, one := range p.sends {
		if there[one.of] {
			continue
		}
		time.Sleep(p.pause)
		if err := p.send(one.sql); err != nil {
			return err
		}
	}
	return nil
}

func (p program) has(name string) (there bool, err error) {
	err = p.conn.QueryRow(context.Background(), `
		SELECT EXISTS (
			SELECT FROM pg_class WHERE relname = $1 AND relkind IN ('r', 'p', 'f', 'v', 'm') AND pg_table_is_visible(oid)
			UNION ALL
			SELECT FROM pg_type WHERE typname = $1 AND typtype = 'e' AND pg_type_is_visible(oid)
		)`, name).Scan(&there)
	return there, err
}

func (p program) send(sql string) error {
	_, err := p.conn.PgConn().Exec(context.Background(), sql).ReadAll()
	return err
}

// startInTransaction is start as pepdbagent does it: all or nothing.
func (p program) startInTransaction() error {
	if err := p.send("BEGIN"); err != nil {
		return err
	}
	if err := p.start(); err != nil {
		return errors.Join(err, p.send("ROLLBACK"))
	}
	return p.send("COMMIT")
}

// race is a database, the job that is to upgrade it, and another program.
type race struct {
	t      *testing.T
	from   crowd
	db     string
	conn   *pgx.Conn
	other  program
	before content
}

// newRace makes a database: "empty", "newest", or a release's with random rows.
func newRace(t *testing.T, from crowd, base string, sends ...sent) *race {
	t.Helper()
	r := &race{t: t, from: from, db: newDatabase(t)}
	r.conn = connect(t, r.db)
	r.other = program{conn: connect(t, r.db), sends: sends}
	switch base {
	case "empty":
		return r
	case "newest":
		upgradeInProcess(t, r.db)
	default:
		step := slices.Index(releases, base) + 1
		execute(t, r.conn, readFile(t, "testdata/pepdbagent-"+base+".sql")+generate(step, 7, step))
	}
	r.before = readContent(t, r.conn)
	return r
}

// ending is how the job ended, and after which time.
type ending struct {
	result
	took time.Duration
	err  error
}

// up starts the job, and gives it half a minute unless more says otherwise.
func (r *race) up(more ...string) <-chan ending {
	env := environment(r.db, append([]string{"WAIT_TIMEOUT", "30s"}, more...)...)
	done := make(chan ending, 1)
	go func() {
		start := time.Now()
		run, err := r.from.command(env, "/pephub-migrate")
		done <- ending{run, time.Since(start), err}
	}()
	return done
}

// waitForSession returns when the job is connected, or has ended.
func (r *race) waitForSession(done <-chan ending) {
	r.t.Helper()
	const sessions = `
		SELECT pid::text FROM pg_stat_activity
		WHERE application_name LIKE 'pephub-migrate%' AND datname = current_database()`
	for len(done) == 0 && len(query(r.t, r.conn, sessions)) == 0 {
		time.Sleep(5 * time.Millisecond)
	}
}

// meanwhile lets the other program work in a transaction that begins before the job, and
// ends it while the job is there.
func (r *race) meanwhile(end string) <-chan ending {
	r.t.Helper()
	execute(r.t, r.other.conn, "BEGIN")
	if err := r.other.start(); err != nil {
		r.t.Fatal(err)
	}
	done := r.up()
	r.waitForSession(done)
	time.Sleep(500*time.Millisecond + rand.N(time.Second))
	execute(r.t, r.other.conn, end)
	return done
}

// together starts the other program and the job, the former ahead by so much.
func (r *race) together(start func() error, ahead time.Duration) <-chan ending {
	r.t.Helper()
	ended := make(chan error, 1)
	go func() {
		time.Sleep(-ahead)
		ended <- start()
	}()
	time.Sleep(ahead)
	done := r.up()
	r.passOver(<-ended)
	return done
}

// passOver takes it that the server refused the other program a statement: the job may
// have been quicker.
func (r *race) passOver(err error) {
	r.t.Helper()
	if err == nil {
		return
	}
	if !errors.As(err, new(*pgconn.PgError)) {
		r.t.Fatal(err)
	}
	r.t.Log("the other program ended with ", err)
}

// want waits for the end of the job.
func (r *race) want(done <-chan ending, limit time.Duration, code int, log ...string) ending {
	r.t.Helper()
	end := <-done
	if end.err != nil {
		r.t.Fatal(end.err)
	}
	end.want(r.t, code, log...)
	if end.took > limit {
		r.t.Errorf("it took %s, want at most %s:\n%s", end.took, limit, end.log)
	}
	return end
}

// wantUpgraded waits for the end of the job, by which the database must be upgraded.
func (r *race) wantUpgraded(done <-chan ending) {
	r.t.Helper()
	if end := r.want(done, 30*time.Second, 0); end.code != 0 {
		return // all else would be different too
	}
	wantNewest(r.t, r.db)
	sameContent(r.t, r.before, readContent(r.t, r.conn))
}

// starts are those of a pepdbagent that makes tables, by the databases where it does.
var starts = map[string][]string{
	"empty":  {"0.8.0 on empty", "0.9.0 on empty", "0.11.1 on empty", "0.12.3 on empty"},
	"0.8.0":  {"0.12.3 on 0.9.0"}, // or tries to
	"0.9.0":  {"0.11.1 on 0.9.0", "0.12.3 on 0.9.0"},
	"0.11.1": {"0.12.3 on 0.11.1"},
}

// eachStart runs a test for each of them.
func eachStart(t *testing.T, test func(t *testing.T, base, start string)) {
	for base, names := range starts {
		for _, name := range names {
			release, _, _ := strings.Cut(name, " ")
			t.Run(release+" on "+base, func(t *testing.T) {
				t.Parallel()
				test(t, base, name)
			})
		}
	}
}

// What is made and not committed yet cannot be seen, and cannot be made by others either.
func TestTablesInOpenTransaction(t *testing.T) {
	from := newCrowd(t)
	for _, end := range []string{"COMMIT", "ROLLBACK"} {
		t.Run(end, func(t *testing.T) {
			eachStart(t, func(t *testing.T, base, start string) {
				sends := recorded(t, start)
				if base == "0.8.0" {
					sends = sends[:1] // the next fails, and takes this one with it
				}
				r := newRace(t, from, base, sends...)
				r.wantUpgraded(r.meanwhile(end))
			})
		})
	}
}

// Tables that are made one by one are those of no release until the last is there.
func TestTablesOneByOne(t *testing.T) {
	from := newCrowd(t)
	eachStart(t, func(t *testing.T, base, start string) {
		r := newRace(t, from, base, recorded(t, start)...)
		r.other.pause = 100*time.Millisecond + rand.N(200*time.Millisecond)
		r.wantUpgraded(r.together(r.other.start, rand.N(500*time.Millisecond)))
	})
}

// pepdbagent and the job start at about the same time.
func TestApplicationStartsAtAnyMoment(t *testing.T) {
	from := newCrowd(t)
	seed := rand.Uint64()
	t.Log("seed ", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	bases := append(slices.Sorted(maps.Keys(starts)), "newest")
	for i := range 10 * *rounds {
		base := bases[random.IntN(len(bases))]
		start := "0.12.3 on empty" // of which nothing is missing at the newest step
		if names := starts[base]; names != nil {
			start = names[random.IntN(len(names))]
		}
		pause := time.Duration(random.IntN(60)) * time.Millisecond
		ahead := time.Duration(random.IntN(1000)-300) * time.Millisecond
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			t.Logf("%s, base %s, %s ahead of the job, a pause of %s", start, base, ahead, pause)
			r := newRace(t, from, base, recorded(t, start)...)
			r.other.pause = pause
			r.wantUpgraded(r.together(r.other.startInTransaction, ahead))
		})
	}
}

// A large upgrade is at work when pepdbagent starts. Each of the two comes to wait for
// what the other has, and PostgreSQL ends one of them.
func TestApplicationStartsInTheMiddle(t *testing.T) {
	from := newCrowd(t)
	template := newDatabase(t, "pepdbagent-0.8.0.sql")
	conn := connect(t, template)
	execute(t, conn, manySamples)
	before := readContent(t, conn)
	execute(t, connect(t, "postgres"), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+template+"'")
	for i := range 2 * *rounds {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			db := copyOf(t, template)
			r := &race{t: t, from: from, db: db, conn: connect(t, db), before: before}
			r.other = program{connect(t, db), recorded(t, "0.12.3 on 0.9.0"), rand.N(time.Second)}
			done := r.up()
			waitFor(t, r.conn, `
				SELECT EXISTS (
					SELECT FROM pg_locks WHERE relation = 'samples'::regclass AND mode = 'AccessExclusiveLock'
						AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
				)::text`)
			r.passOver(r.other.startInTransaction())
			r.wantUpgraded(done)
			if err := r.other.startInTransaction(); err != nil { // it is started again
				t.Error(err)
			}
			wantNewest(t, db)
		})
	}
}

// A pepdbagent 0.12 with run_migrations=True upgrades the database itself. What Alembic
// drops is gone, so the content is then what it has left.
func TestAlembicUpgradesMeanwhile(t *testing.T) {
	from := newCrowd(t)
	stamped := func(t *testing.T) *race {
		r := newRace(t, from, "0.11.1", byAlembic(t, false)...)
		execute(t, r.conn, createAlembicVersion+";"+stamp0111)
		return r
	}
	alone := stamped(t)
	if err := alone.other.startInTransaction(); err != nil {
		t.Fatal(err)
	}
	for end, before := range map[string]content{"ROLLBACK": alone.before, "COMMIT": readContent(t, alone.conn)} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			r := stamped(t)
			r.before = before
			r.wantUpgraded(r.meanwhile(end))
		})
		t.Run(end+" on empty", func(t *testing.T) {
			t.Parallel()
			r := newRace(t, from, "empty", byAlembic(t, true)...)
			r.wantUpgraded(r.meanwhile(end))
		})
	}
}

// Changes by hand, on a database of 0.11.1. What a finished change leaves in the way is
// named, as it is without a race.
func TestChangedByHandMeanwhile(t *testing.T) {
	from := newCrowd(t)
	for name, test := range map[string]struct {
		sql  string
		code int
		says string
		kept string
	}{
		"index":         {sql: "CREATE INDEX mine ON samples (sample_name)", kept: "mine"},
		"view":          {sql: "CREATE VIEW mine AS SELECT name FROM projects", kept: "mine"},
		"table":         {sql: "CREATE TABLE mine (project_id integer REFERENCES projects)", kept: "mine"},
		"column":        {sql: "ALTER TABLE projects ADD COLUMN mine integer; ALTER TABLE projects DROP COLUMN mine"},
		"index in way":  {sql: "CREATE INDEX mine ON schemas (private)", code: 7, says: "mine", kept: "mine"},
		"view in way":   {sql: "CREATE VIEW mine AS SELECT name FROM schemas", code: 7, says: "view public.mine", kept: "mine"},
		"column in way": {sql: "ALTER TABLE projects ADD COLUMN mine integer", code: 6, says: "column projects.mine is not expected"},
		"table gone":    {sql: "DROP TABLE stars", code: 6, says: "table stars is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRace(t, from, "0.11.1", sent{sql: test.sql})
			done := r.meanwhile("COMMIT")
			if test.code == 0 {
				r.wantUpgraded(done)
			} else {
				r.want(done, 10*time.Second, test.code, test.says)
			}
			if test.kept != "" {
				wantRows(t, r.db, "SELECT to_regclass('"+test.kept+"')::text", test.kept)
			}
		})
	}
}

// A change that does not fit is taken back within half a second.
func TestColumnForAMoment(t *testing.T) {
	from := newCrowd(t)
	for _, base := range []string{"0.8.0", "0.11.1", "newest"} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			r := newRace(t, from, base)
			execute(t, r.conn, "ALTER TABLE projects ADD COLUMN mine integer")
			done := r.up()
			r.waitForSession(done)
			time.Sleep(400 * time.Millisecond)
			execute(t, r.conn, "ALTER TABLE projects DROP COLUMN mine")
			r.wantUpgraded(done)
		})
	}
}

// What stands still and does not fit is no race, and ends long before WAIT_TIMEOUT.
func TestWhatDoesNotFitEndsSoon(t *testing.T) {
	from := newCrowd(t)
	for name, test := range map[string]struct {
		base, sql string
		code      int
		says      string
	}{
		"column":        {"0.11.1", "ALTER TABLE projects ADD COLUMN mine integer", 6, "column projects.mine is not expected"},
		"view":          {"0.11.1", "CREATE VIEW mine AS SELECT name FROM schemas", 7, "view public.mine"},
		"others' table": {"empty", "CREATE TABLE orders (id integer)", 6, "holds other tables (orders)"},
		"half a table":  {"empty", "CREATE TABLE projects (id integer)", 6, "projects"},
		"taken type":    {"0.11.1", "CREATE TYPE schema_records AS (id integer)", 6, "schema_records (composite type)"},
		"taken domain":  {"0.11.1", "CREATE DOMAIN schema_records AS text", 7, "schema_records"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRace(t, from, test.base)
			execute(t, r.conn, test.sql)
			end := r.want(r.up(), 6*time.Second, test.code, test.says)
			t.Log("it took ", end.took)
		})
	}
}

// A shape that goes on changing and never fits ends the run soon after WAIT_TIMEOUT.
func TestShapeNeverStandsStill(t *testing.T) {
	r := newRace(t, newCrowd(t), "0.11.1")
	execute(t, r.conn, "ALTER TABLE projects ADD COLUMN one integer")
	done := r.up("WAIT_TIMEOUT", "3s")
	for next, last := "two", "one"; len(done) == 0; next, last = last, next {
		execute(t, r.other.conn, "ALTER TABLE projects ADD COLUMN "+next+" integer")
		execute(t, r.other.conn, "ALTER TABLE projects DROP COLUMN "+last)
		time.Sleep(200 * time.Millisecond)
	}
	end := r.want(done, 8*time.Second, 6, "is not expected: integer")
	if end.took < 3*time.Second {
		t.Errorf("it took %s only", end.took)
	}
}

// A pepdbagent 0.11 that is started again on the newest tables makes the three that it
// misses, and fails before it can fill them. Whoever starts after it must not fail too.
func TestOlderApplicationStartsAfterwards(t *testing.T) {
	r := newRace(t, newCrowd(t), "newest", recorded(t, "0.11.1 on newest")...)
	if err := r.other.startInTransaction(); err != nil {
		t.Fatal(err)
	}
	r.want(r.up(), 10*time.Second, 0)
	r.want(r.up("MIGRATE_ACTION", "wait", "WAIT_TIMEOUT", "2s"), 10*time.Second, 0)
}

// PostgreSQL gives the sequence of a serial column another name where its own is taken.
func TestSequenceNameIsTaken(t *testing.T) {
	r := newRace(t, newCrowd(t), "0.11.1")
	execute(t, r.conn, "CREATE SEQUENCE schema_records_id_seq")
	r.want(r.up(), 6*time.Second, 7, "schema_records_id_seq")
}
