package migrator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/schema"
)

// Plan writes what Migrate would do, as a script for psql that does the same, and does nothing. It only reads, takes no lock,
// and a standby will do. The error is as for Check, but that there is something to do is none.
func (m *Migrator) Plan(ctx context.Context, conn *pgconn.PgConn, w io.Writer) (Outcome, error) {
	outcome, pending, err := m.find(ctx, conn)
	if err != nil && !errors.Is(err, ErrPending) {
		return outcome, err
	}
	var script string
	switch {
	case outcome.Newer > 0:
		script = fmt.Sprintf("-- The database is at step %d, which is newer than this image and fine for its application. There is nothing to do.\n", outcome.Newer)
	case err == nil:
		script = fmt.Sprintf("-- The database is at step %d, and on record. There is nothing to do.\n", outcome.To.Number)
	default:
		if script, err = m.script(ctx, conn, pending); err != nil {
			return outcome, err
		}
	}
	if _, err := io.WriteString(w, script); err != nil {
		return outcome, fmt.Errorf("write the plan: %w", err)
	}
	outcome.Planned = true
	return outcome, nil
}

// script looks once more, at all that the script depends on, and returns it.
func (m *Migrator) script(ctx context.Context, conn *pgconn.PgConn, pending []Step) (string, error) {
	db, at, err := m.settled(ctx, conn)
	if err != nil {
		return "", err
	}
	c, err := m.preview(ctx, conn, at.leftovers)
	if err != nil {
		return "", err
	}
	facts, err := m.facts(ctx, conn, db)
	if err != nil {
		return "", err
	}
	parts := []string{
		m.summary(db, at, c, facts, pending),
		title("Nobody else migrates meanwhile, and the settings hold until the end of the transaction"),
		lockOrFail(), dedent(m.settingsSQL()),
		title("Unqualified names lead to PEPhub's tables"),
		m.reader.Where + ";\n",
		title("Is the database still as it was when this plan was made?"),
		m.expect(facts.fingerprint, "true", "the database has changed since this plan was made; make another"),
	}
	if db.Owner != "" {
		parts = append(parts, title("New tables belong to the owner of the old ones"), actAsSQL(db.Owner)+";\n")
	}
	if c.sql != "" {
		parts = append(parts, title("Empty tables of a newer application make way for the steps"), dropIfEmpty(c))
	}
	if at.step > 0 {
		parts = append(parts, title("Triggers and rules of your own stand still"), dedent(m.standStillSQL()))
	}
	for _, step := range pending {
		parts = append(parts, title(fmt.Sprintf("Step %d: %s", step.Number, step.Name)), step.up)
	}
	parts = append(parts, title("The version is written down"), dedent(m.recordSQL(db.Alembic != "")))
	if at.step > 0 {
		parts = append(parts, title("Triggers and rules are enabled again, and grants extended to new tables"),
			dedent(m.handBackSQL(present(db, at))))
	}
	parts = append(parts, title("Is the result what it should be?"),
		m.expect(m.fingerprint(db, at), m.wanted(), "the result is not what it should be"))
	return strings.Join(parts, "\n"), nil
}

func title(text string) string {
	const line = "-- ----------------------------------------------------------------------------------------------------------------"
	return line + "\n-- " + text + "\n" + line
}

// dedent is for statements that are indented as the Go code around them.
func dedent(sql string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(sql), "\n\t\t", "\n"), "\t", "    ") + "\n"
}

func lockOrFail() string {
	return fmt.Sprintf(`DO $do$
BEGIN
    IF NOT pg_try_advisory_xact_lock(%d) THEN
        RAISE EXCEPTION 'an instance of pephub-migrate is migrating this database';
    END IF;
END
$do$;
`, int64(lockKey))
}

// dropIfEmpty is the clearing's SQL behind a guard: that the tables are empty was seen without a lock.
func dropIfEmpty(c clearing) string {
	var sql string
	if len(c.drop) > 0 {
		var filled []string
		for _, table := range c.drop {
			filled = append(filled, fmt.Sprintf("EXISTS (SELECT FROM %s)", table))
		}
		sql = fmt.Sprintf(`%s;
DO $do$
BEGIN
    IF %s THEN
        RAISE EXCEPTION 'a table that is to be dropped is not empty any more; make another plan';
    END IF;
END
$do$;
`, lockSQL(c.drop), strings.Join(filled, " OR "))
	}
	return sql + c.sql
}

// fingerprintSQL is the query for the fingerprint of the database's shape, of those lines for which the condition holds.
func (m *Migrator) fingerprintSQL(condition string) string {
	return fmt.Sprintf("SELECT encode(sha256(convert_to(string_agg(line, chr(10) ORDER BY line COLLATE \"C\"), 'UTF8')), 'hex')\nFROM (\n%s\n) AS look\nWHERE %s",
		strings.TrimSpace(m.reader.Lines), condition)
}

// expect is a statement that fails with a message unless the database has a fingerprint.
func (m *Migrator) expect(fingerprint, condition, complaint string) string {
	return fmt.Sprintf(`DO $do$
BEGIN
    IF '%s' IS DISTINCT FROM coalesce((
%s
    ), '') THEN
        RAISE EXCEPTION '%s';
    END IF;
END
$do$;
`, fingerprint, m.fingerprintSQL(condition), complaint)
}

// wanted is the condition that leaves out what no snapshot is held against: an operator's own index by a name of ours.
func (m *Migrator) wanted() string {
	var indexes []string
	for object := range m.target.Shape {
		if strings.HasPrefix(object, "index ") {
			indexes = append(indexes, "'"+object+"'")
		}
	}
	if len(indexes) == 0 {
		return "line NOT LIKE 'index %'"
	}
	slices.Sort(indexes)
	return fmt.Sprintf("line NOT LIKE 'index %%'\n    OR split_part(line, ': ', 1) IN (%s)", strings.Join(indexes, ", "))
}

// fingerprint is that of the result: the target's shape, or that which is there if no step is pending, and the lines of the
// version tables.
func (m *Migrator) fingerprint(db schema.Database, at position) string {
	shape := m.target.Shape
	if at.step == m.target.Number {
		shape, _ = db.Shape.Split(m.target.Shape)
	}
	lines := []string{fmt.Sprintf("schema_migrations: %d", m.target.Number), fmt.Sprintf("oldest_step: %d", m.target.Oldest)}
	switch {
	case m.target.Revision != "":
		lines = append(lines, "alembic_version: "+m.target.Revision)
	case db.Alembic != "":
		lines = append(lines, "alembic_version: "+schema.Empty)
	}
	for line := range strings.Lines(shape.String()) {
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}

// facts is what a plan says of the database as it is.
type facts struct {
	fingerprint string
	tables      map[string]tableFacts
}

// tableFacts is the size of a table, with what is kept out of line but without indexes, and its rows in words: counted if
// that is soon done, otherwise the planner's guess.
type tableFacts struct {
	bytes int64
	rows  string
}

// soonCounted is a size, in bytes, up to which a table's rows are counted.
const soonCounted = 16 << 20

var plannersRows = regexp.MustCompile(`rows=(\d+)`)

// facts asks in one round trip.
func (m *Migrator) facts(ctx context.Context, conn *pgconn.PgConn, db schema.Database) (facts, error) {
	tables := slices.Sorted(slices.Values(db.Shape.Names("table")))
	questions := []string{m.reader.Where, m.fingerprintSQL("true")}
	for _, table := range tables {
		questions = append(questions, fmt.Sprintf(`
			SELECT pg_table_size('%[1]s'), CASE WHEN pg_table_size('%[1]s') < %[2]d THEN (SELECT count(*) FROM %[1]s) END`,
			table, soonCounted), "EXPLAIN SELECT FROM "+table)
	}
	results, err := conn.Exec(ctx, strings.Join(questions, ";\n")).ReadAll()
	if err != nil {
		return facts{}, fmt.Errorf("look at the sizes of the tables: %w", err)
	}
	found := facts{fingerprint: string(results[1].Rows[0][0]), tables: map[string]tableFacts{}}
	for i, table := range tables {
		size, guess := results[2+2*i].Rows[0], plannersRows.FindSubmatch(results[3+2*i].Rows[0][0])
		bytes, err := strconv.ParseInt(string(size[0]), 10, 64)
		if err != nil || guess == nil {
			return facts{}, fmt.Errorf("the server does not say how large table %s is", table)
		}
		rows := "about " + string(guess[1])
		if size[1] != nil {
			rows = string(size[1])
		}
		found.tables[table] = tableFacts{bytes, rows}
	}
	return found, nil
}

// summary is the part of the plan that is for a person.
func (m *Migrator) summary(db schema.Database, at position, c clearing, facts facts, pending []Step) string {
	var text strings.Builder
	say := func(format string, values ...any) {
		fmt.Fprintf(&text, strings.TrimSpace("-- "+format)+"\n", values...)
	}
	from, _ := m.steps.find(at.step)
	say("What MIGRATE_ACTION=up would do. Nothing has been done.")
	say("")
	if at.step == 0 {
		say("Schema %s is empty.", db.Schema)
	} else {
		say("Schema %s is at step %d (%s): %s.", db.Schema, at.step, from.Release, from.recognised(db.Shape, at.leftovers))
	}
	say("schema_migrations %s. alembic_version %s.", inRecord(db.Recorded), inRecord(db.Alembic))
	if len(c.keep) > 0 {
		say("Tables that a newer application has made and filled, which stay: %s.", strings.Join(c.keep, ", "))
	}
	if len(c.drop) > 0 {
		say("Tables that a newer application has made, which are empty and make way: %s.", strings.Join(c.drop, ", "))
	}
	var whole time.Duration
	for _, step := range pending {
		duration := step.costs.estimate(facts.tables)
		whole += duration
		say("")
		say("Step %d %s, about %s", step.Number, step.Name, roughly(duration))
		for _, line := range strings.SplitN(step.up, "\n", 4)[:3] {
			say("  %s", strings.TrimPrefix(line, "-- "))
		}
		step.costs.sayLocks(say, facts.tables)
		step.costs.sayArchives(say, facts.tables)
	}
	say("")
	if len(pending) == 0 {
		say("No step is pending. The version is written down.")
	}
	say("In all about %s on two cores, in one transaction. Its locks are held until the end.", roughly(whole))
	say("")
	say("The same by hand: psql -1 -q -o /dev/null -v ON_ERROR_STOP=1 -f this-file")
	return text.String()
}

// recognised says why a shape is taken for this step's.
func (s Step) recognised(shape, leftovers schema.Shape) string {
	objects := len(shape) - len(leftovers)
	common, _ := shape.Split(s.Shape)
	if len(common.Diff(s.Shape)) > 0 {
		return fmt.Sprintf("its %d objects are those of a known variant", objects)
	}
	return fmt.Sprintf("its %d objects are as %06d_%s.schema.txt has them", objects, s.Number, s.Name)
}

func inRecord(record string) string {
	switch record {
	case "":
		return "is not there"
	case schema.Empty:
		return "is empty"
	}
	return "says " + record
}

// documentFactor is how much larger than the documents of projects are the samples that come out of them: documents are
// compressed.
const documentFactor = 5

// estimate returns how long a step takes on tables of those sizes. A table that an earlier step will make out of documents
// is taken to be as large as those.
func (c costs) estimate(tables map[string]tableFacts) time.Duration {
	var whole time.Duration
	for table, perMegabyte := range c.work {
		size, ok := tables[table]
		bytes := size.bytes
		if !ok {
			bytes = documentFactor * tables["projects"].bytes
		}
		whole += time.Duration(float64(perMegabyte) * float64(bytes) / (1 << 20))
	}
	return whole
}

// roughly rounds to what an estimate is good for.
func roughly(duration time.Duration) time.Duration {
	switch {
	case duration < 100*time.Millisecond:
		return 100 * time.Millisecond
	case duration < 10*time.Second:
		return duration.Round(100 * time.Millisecond)
	}
	return duration.Round(time.Second)
}

// sayLocks names the tables that are there already by the lock that each gets.
func (c costs) sayLocks(say func(string, ...any), tables map[string]tableFacts) {
	byMode := map[string][]string{}
	for _, table := range slices.Sorted(maps.Keys(c.locks)) {
		if facts, ok := tables[table]; ok {
			byMode[c.locks[table]] = append(byMode[c.locks[table]],
				fmt.Sprintf("%s (%s rows, %s)", table, facts.rows, inBytes(facts.bytes)))
		}
	}
	for _, mode := range slices.Sorted(maps.Keys(byMode)) {
		say("  Locks: at most %s on %s", mode, strings.Join(byMode[mode], ", "))
	}
}

func (c costs) sayArchives(say func(string, ...any), tables map[string]tableFacts) {
	for _, archive := range slices.Sorted(maps.Keys(c.archives)) {
		source := c.archives[archive]
		if facts, ok := tables[source]; ok {
			say("  Archives: to %s, at most the %[3]s rows of %[2]s", archive, source, facts.rows)
		} else {
			say("  Archives: to %s, at most the rows that %s will have", archive, source)
		}
	}
}

func inBytes(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%d kB", bytes>>10)
}
