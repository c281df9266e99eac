package migrator

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/postgres"
	"pephub-migrate/internal/schema"
)

// tableSize is the size of a table, with what is kept out of line but without indexes,
// and its rows in words: counted if that is soon done, otherwise the planner's guess.
type tableSize struct {
	bytes int64
	rows  string
}

// soonCounted is a size, in bytes, up to which a table's rows are counted.
const soonCounted = 16 << 20

// tableSizes asks in one round trip.
func (m *Migrator) tableSizes(ctx context.Context, conn *pgconn.PgConn, db schema.Database) (map[string]tableSize, error) {
	tables := slices.Sorted(slices.Values(db.Shape.Names("table")))
	var questions []string
	for _, table := range tables {
		questions = append(questions, fmt.Sprintf(`
			SELECT size, CASE WHEN size < %[3]d THEN (SELECT count(*) FROM ONLY %[1]s.%[2]s TABLESAMPLE SYSTEM (100)) END
			FROM pg_table_size((quote_ident(current_setting('pephub_migrate.schema')) || '.%[2]s')::regclass) AS size`,
			db.Schema, table, soonCounted), fmt.Sprintf("EXPLAIN SELECT FROM ONLY %s.%s", db.Schema, table))
	}
	ctx, cancel := m.briefly(ctx)
	defer cancel()
	plannersRows := regexp.MustCompile(`rows=(\d+)`)
	results, err := schema.Ask(ctx, conn, questions...)
	if err != nil {
		return nil, fmt.Errorf("look at the sizes of the tables: %w", err)
	}
	sizes := map[string]tableSize{}
	for i, table := range tables {
		size, err := postgres.Row(results[2*i], 2)
		if err != nil {
			return nil, err
		}
		explained, err := postgres.Row(results[2*i+1], 1)
		if err != nil {
			return nil, err
		}
		guess := plannersRows.FindSubmatch(explained[0])
		bytes, err := strconv.ParseInt(string(size[0]), 10, 64)
		if err != nil || guess == nil {
			return nil, fmt.Errorf("look at the size of table %s: %w", table, postgres.ErrHalf)
		}
		rows := "about " + string(guess[1])
		if size[1] != nil {
			rows = string(size[1])
		}
		sizes[table] = tableSize{bytes, rows}
	}
	return sizes, nil
}

// summary is the part of the plan that is for a person.
func (a assessment) summary(sizes map[string]tableSize) string {
	db, from, c := a.db, a.outcome.From, a.clearing
	var text strings.Builder
	say := func(format string, values ...any) {
		line := strings.Map(printable, fmt.Sprintf("-- "+format, values...)) // a name may hold the end of a comment
		text.WriteString(strings.TrimSpace(line) + "\n")
	}
	say("What MIGRATE_ACTION=up would do. Nothing has been done.")
	say("")
	if from.Number == 0 {
		say("Schema %s is empty.", db.Schema)
	} else {
		say("Schema %s is at step %d (%s): %s.", db.Schema, from.Number, from.Release, from.likeness(db.Shape, a.at))
	}
	say("schema_migrations %s. alembic_version %s.", inRecord(db.Recorded), inRecord(db.Alembic))
	if len(c.keep) > 0 {
		say("Tables that a newer application has made and filled, which stay: %s.", strings.Join(c.keep, ", "))
	}
	if len(c.drop) > 0 {
		say("Tables that a newer application has made, which are empty and make way: %s.", strings.Join(c.drop, ", "))
	}
	if len(a.at.missing) > 0 {
		say("Indexes that are missing and will be made: %s.", a.at.missingIndexes())
		say("  While one is made, nobody can write to its table; the time for that is not in the estimate.")
	}
	var whole time.Duration
	for _, step := range a.pending {
		duration := step.costs.estimate(sizes)
		whole += duration
		say("")
		say("Step %d %s, about %s", step.Number, step.Name, roughly(duration))
		for _, line := range strings.SplitN(step.up, "\n", 4)[:3] {
			say("  %s", strings.TrimPrefix(line, "-- "))
		}
		step.costs.sayLocks(say, sizes)
		step.costs.sayArchives(say, sizes)
	}
	say("")
	if len(a.pending) == 0 {
		say("No step is pending. The version is written down.")
	}
	say("In all about %s on two cores, in one transaction. Its locks are held until the end.", roughly(whole))
	say("")
	say("The same by hand: psql -X -1 -q -o /dev/null -f this-file")
	return text.String()
}

func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

// likeness says why a shape is taken for this step's.
func (s Step) likeness(shape schema.Shape, at position) string {
	objects := len(shape) - len(at.leftovers)
	common, _ := shape.Split(s.Shape)
	maps.Copy(common, at.missing)
	like := fmt.Sprintf("as %06d_%s.schema.txt has them", s.Number, s.Name)
	if len(common.Diff(s.Shape)) > 0 {
		like = "those of a known variant"
	}
	if len(at.missing) > 0 {
		like += ", but for indexes that are missing"
	}
	return fmt.Sprintf("its %d objects are %s", objects, like)
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

// documentFactor is how much larger than the documents of projects are the samples that
// come out of them: documents are compressed.
const documentFactor = 5

// estimate returns how long a step takes on tables of those sizes. A table that an
// earlier step will make out of documents is taken to be as large as those.
func (c costs) estimate(tables map[string]tableSize) time.Duration {
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
func (c costs) sayLocks(say func(string, ...any), tables map[string]tableSize) {
	byMode := map[string][]string{}
	for _, table := range slices.Sorted(maps.Keys(c.locks)) {
		if size, ok := tables[table]; ok {
			byMode[c.locks[table]] = append(byMode[c.locks[table]],
				fmt.Sprintf("%s (%s rows, %s)", table, size.rows, inBytes(size.bytes)))
		}
	}
	for _, mode := range slices.Sorted(maps.Keys(byMode)) {
		say("  Locks: at most %s on %s", mode, strings.Join(byMode[mode], ", "))
	}
}

func (c costs) sayArchives(say func(string, ...any), tables map[string]tableSize) {
	for _, archive := range slices.Sorted(maps.Keys(c.archives)) {
		source := c.archives[archive]
		if size, ok := tables[source]; ok {
			say("  Archives: to %s, at most the %[3]s rows of %[2]s", archive, source, size.rows)
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
