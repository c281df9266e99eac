package migrator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/postgres"
	"pephub-migrate/internal/schema"
)

// ErrPending means that the database is not at the target: there is something for MIGRATE_ACTION=up to do.
var ErrPending = errors.New("not at the target")

// Check is one attempt to find out whether the database behind conn is at the target. It only reads, and takes no lock; a
// standby will do. The error wraps ErrPending, or one of those for which Migrate would leave the database alone:
// ErrUnrecognised, ErrNewer, ErrTarget.
func (m *Migrator) Check(ctx context.Context, conn *pgconn.PgConn) (Outcome, error) {
	outcome, pending, err := m.find(ctx, conn)
	for _, step := range pending {
		m.log.Info("pending", "step", step.Number, "name", step.Name, "release", step.Release)
	}
	return outcome, err
}

// Wait is Check for whom another instance is to do the work: as long as there is some it asks to be called again, and
// reports progress if that instance is at it.
func (m *Migrator) Wait(ctx context.Context, conn *pgconn.PgConn) (Outcome, error) {
	outcome, _, err := m.find(ctx, conn)
	if !errors.Is(err, ErrPending) {
		return outcome, err
	}
	results, lookErr := conn.Exec(ctx, holderSQL()).ReadAll()
	if lookErr != nil {
		return outcome, fmt.Errorf("look for an instance that migrates: %w", lookErr)
	}
	if holders := results[0].Rows; len(holders) > 0 {
		outcome.Progress = m.sayHolder(holders[0])
	}
	return outcome, postgres.Again{Err: err}
}

// find returns where the database is, and the steps that are pending with an ErrPending, which may be for want of a record
// alone.
func (m *Migrator) find(ctx context.Context, conn *pgconn.PgConn) (Outcome, []Step, error) {
	db, at, err := m.settled(ctx, conn)
	if m.compatible(db) {
		return Outcome{Newer: db.Version()}, nil, nil
	}
	if err != nil {
		return Outcome{}, nil, err
	}
	from, _ := m.steps.find(at.step)
	outcome := Outcome{From: from, To: m.target}
	if m.done(db, at) {
		return outcome, nil, nil
	}
	if _, err := m.preview(ctx, conn, at.leftovers); err != nil {
		return outcome, nil, err
	}
	pending := m.steps.between(at.step, m.target.Number)
	return outcome, pending, fmt.Errorf("%w: %s", ErrPending, lacking(from, pending))
}

// lacking says in words what is missing.
func lacking(from Step, pending []Step) string {
	where := "the database is empty"
	if from.Number > 0 {
		where = fmt.Sprintf("the database is at step %d (%s)", from.Number, from.Release)
	}
	if len(pending) == 0 {
		return where + ", but not on record"
	}
	var names []string
	for _, step := range pending {
		names = append(names, fmt.Sprintf("%d %s", step.Number, step.Name))
	}
	return fmt.Sprintf("%s, pending: %s", where, strings.Join(names, ", "))
}

// between returns the steps after one number up to another.
func (s Steps) between(after, last int) []Step {
	var steps []Step
	for _, step := range s {
		if step.Number > after && step.Number <= last {
			steps = append(steps, step)
		}
	}
	return steps
}

// settlePause is the time between two looks of which the second is to confirm the first.
const settlePause = 200 * time.Millisecond

// settled returns where the database is. Without the lock, what it shows while another instance commits may be a mixture of
// before and after; so it is refused only for what two looks in a row see.
func (m *Migrator) settled(ctx context.Context, conn *pgconn.PgConn) (schema.Database, position, error) {
	var before error
	for {
		db, err := m.glance(ctx, conn)
		if err != nil {
			return db, position{}, err
		}
		at, err := m.locate(db)
		if err == nil {
			return db, at, nil
		}
		if before != nil && before.Error() == err.Error() {
			if errors.Is(err, ErrUnrecognised) {
				m.nameUndecided(ctx, conn, db.Shape)
			}
			return db, at, err
		}
		before = err
		if err := postgres.Sleep(ctx, settlePause); err != nil {
			return db, at, err
		}
	}
}

// preview decides what would become of the leftovers, without a lock on them.
func (m *Migrator) preview(ctx context.Context, conn *pgconn.PgConn, leftovers schema.Shape) (clearing, error) {
	full, err := filled(ctx, conn, m.reader.Where, leftovers.Names("table"))
	if err != nil {
		return clearing{}, err
	}
	return m.steps.clear(leftovers, full)
}
