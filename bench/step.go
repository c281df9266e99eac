package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/migrator"
	"pephub-migrate/migrations"
)

// measureStep times one step, the newest unless BENCH_STEPS says another, on a database
// of a million samples, and says which locks it takes on the tables that are there before
// it, and for how long: until the commit, however early they are taken.
func measureStep(ctx context.Context, b *bench) (string, error) {
	steps, err := migrator.Load(migrations.FS)
	if err != nil {
		return "", err
	}
	sizes, err := numbers("BENCH_SAMPLES", "1000000")
	if err != nil {
		return "", err
	}
	wanted, err := numbers("BENCH_STEPS", fmt.Sprint(steps[len(steps)-1].Number))
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, samples := range sizes {
		err := b.chain(ctx, samples, slices.Max(wanted)-1, func(at int, database string) error {
			if at == 13 { // the first that has all of these tables
				if err := b.fill(ctx, database, "others-13.sql", samples); err != nil {
					return err
				}
			}
			if !slices.Contains(wanted, at+1) {
				return nil
			}
			one, err := b.oneStep(ctx, at+1, samples, database)
			text.WriteString(one)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return text.String(), nil
}

// oneStep takes a copy of a database to a step and describes what that cost.
func (b *bench) oneStep(ctx context.Context, step, samples int, template string) (string, error) {
	const database = "bench_step"
	defer b.server.drop(context.WithoutCancel(ctx), database)
	if err := b.server.create(ctx, database, template); err != nil {
		return "", err
	}
	before, err := b.size(ctx, database)
	if err != nil {
		return "", err
	}
	watched, stop, err := b.watchLocks(ctx, database)
	if err != nil {
		return "", err
	}
	run, err := b.upgrade(ctx, database, step)
	stop()
	if err != nil {
		return "", err
	}
	locks := <-watched
	if locks.err != nil {
		return "", locks.err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Step %d at %d samples: %s of %s for the whole run, %s of WAL, disk %.1f x.\n\n", step, samples,
		short(run.steps[step]), short(run.took), megabytes(run.wal), float64(max(run.disk, before))/float64(before))
	if len(locks.held) == 0 {
		text.WriteString("It takes no lock that anybody could notice.\n\n")
		return text.String(), nil
	}
	text.WriteString("| table | lock | taken after | held for |\n|---|---|---|---|\n")
	for _, lock := range locks.held {
		if slices.ContainsFunc(locks.held, lock.coveredBy) {
			continue
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %s |\n", lock.table, lock.mode, short(lock.first.Sub(locks.began)), short(lock.last.Sub(lock.first)))
	}
	text.WriteString("\n")
	return text.String(), nil
}

// seenLock is a lock between the first and the last time that it was seen.
type seenLock struct {
	table, mode string
	first, last time.Time
}

// coveredBy reports whether a stronger lock was held on the table all the while, so that
// nobody noticed this one.
func (l *seenLock) coveredBy(other *seenLock) bool {
	strength := []string{"RowShare", "RowExclusive", "ShareUpdateExclusive", "Share", "ShareRowExclusive", "Exclusive", "AccessExclusive"}
	return other.table == l.table && !other.first.After(l.first) && slices.Index(strength, other.mode) > slices.Index(strength, l.mode)
}

type seenLocks struct {
	began time.Time
	held  []*seenLock
	err   error
}

// locksPause is the time between two looks. No lock is seen sooner or later than that.
const locksPause = 2 * time.Millisecond

// watchLocks looks at the locks of the program in a database, again and again until it is
// stopped; the channel then has what it saw.
func (b *bench) watchLocks(ctx context.Context, database string) (<-chan seenLocks, func(), error) {
	// The names of the tables as they are before the step, which may drop some of them.
	conn, err := b.server.connect(ctx, database)
	if err != nil {
		return nil, nil, err
	}
	const tablesSQL = "SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname NOT IN ('schema_migrations', 'alembic_version')"
	results, err := conn.Exec(ctx, tablesSQL).ReadAll()
	if err != nil {
		conn.Close(ctx)
		return nil, nil, err
	}
	tables := map[string]string{}
	for _, row := range results[0].Rows {
		tables[string(row[0])] = string(row[1])
	}
	ctx, stop := context.WithCancel(ctx)
	watched := make(chan seenLocks, 1)
	go func() {
		defer conn.Close(context.WithoutCancel(ctx))
		watched <- lookAtLocks(ctx, conn, tables)
	}()
	return watched, stop, nil
}

// lookAtLocks looks at the locks on these tables, given by oid, until the context ends.
func lookAtLocks(ctx context.Context, conn *pgconn.PgConn, tables map[string]string) seenLocks {
	seen := seenLocks{began: time.Now()}
	byLock := map[string]*seenLock{}
	for {
		results, err := conn.Exec(ctx, `
			SELECT relation, mode FROM pg_locks
			WHERE locktype = 'relation' AND granted AND pid <> pg_backend_pid() AND mode <> 'AccessShareLock'
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).ReadAll()
		if ctx.Err() != nil {
			return seen
		}
		if err != nil {
			return seenLocks{err: errors.Join(errors.New("look at the locks"), err)}
		}
		now := time.Now()
		for _, row := range results[0].Rows {
			table, ok := tables[string(row[0])]
			if !ok {
				continue
			}
			mode := strings.TrimSuffix(string(row[1]), "Lock")
			key := table + " " + mode
			if byLock[key] == nil {
				byLock[key] = &seenLock{table: table, mode: mode, first: now}
				seen.held = append(seen.held, byLock[key])
			}
			byLock[key].last = now
		}
		time.Sleep(locksPause)
	}
}
