package migrator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/postgres"
)

// ErrPending means that the database is not at the target: there is something for MIGRATE_ACTION=up to do.
var ErrPending = errors.New("not at the target")

// Check is one attempt to find out whether the database behind conn is at the target. It only reads, and takes no lock that
// anybody could notice; a standby will do. The error wraps ErrPending, or one of those for which Migrate would leave the
// database alone: ErrUnrecognised, ErrNewer, ErrTarget.
func (m *Migrator) Check(ctx context.Context, conn *pgconn.PgConn) (Outcome, error) {
	found, err := m.assess(ctx, conn)
	for _, step := range found.pending {
		m.log.Info("pending", "step", step.Number, "name", step.Name, "release", step.Release)
	}
	return found.outcome, err
}

// Wait is Check for whom another instance is to do the work: as long as there is some it asks to be called again, and
// reports progress if that instance is at it. A standby does not know whether it is.
func (m *Migrator) Wait(ctx context.Context, conn *pgconn.PgConn) (Outcome, error) {
	found, err := m.assess(ctx, conn)
	if !errors.Is(err, ErrPending) && !postgres.IsLockTimeout(err) { // of a table that the other instance has locked
		return found.outcome, err
	}
	ctx, cancel := m.briefly(ctx)
	defer cancel()
	holders, lookErr := holders(ctx, conn)
	if lookErr != nil {
		return found.outcome, lookErr
	}
	if len(holders) > 0 {
		found.outcome.Progress = m.sayHolder(holders[0])
	}
	if errors.Is(err, ErrPending) {
		err = postgres.Again{Err: err}
	}
	return found.outcome, err
}

// assessment is what there is, and what there is to do.
type assessment struct {
	upgrade
	outcome Outcome // without Changed: nothing was done
}

// settlePause is the time between two looks of which the second is to confirm the first.
const settlePause = 200 * time.Millisecond

// assess looks without the lock. What is left to do is an ErrPending. What it shows while another instance commits may be a
// mixture of before and after; so a database is refused only for what two looks in a row see.
func (m *Migrator) assess(ctx context.Context, conn *pgconn.PgConn) (assessment, error) {
	var before error
	for {
		found, err := m.assessOnce(ctx, conn)
		if !isRefusal(err) {
			return found, err
		}
		if before != nil && before.Error() == err.Error() {
			if errors.Is(err, ErrUnrecognised) {
				m.nameUndecided(ctx, conn, found.db)
			}
			return found, err
		}
		before = err
		if err := postgres.Sleep(ctx, settlePause); err != nil {
			return found, err
		}
	}
}

// isRefusal reports whether an error is a reason for which a database is left alone.
func isRefusal(err error) bool {
	for _, class := range []error{ErrUnrecognised, ErrEmpty, ErrNewer, ErrTarget, ErrAttached, ErrPlanted} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

func (m *Migrator) assessOnce(ctx context.Context, conn *pgconn.PgConn) (assessment, error) {
	db, err := m.glance(ctx, conn, m.reader)
	if err == nil && len(db.Shape.Names("table")) == 0 {
		db, err = m.glance(ctx, conn, m.reader.Around())
	}
	if err != nil {
		return assessment{}, err
	}
	if m.compatible(db) {
		return assessment{outcome: Outcome{Newer: db.Version()}}, nil
	}
	brief, cancel := m.briefly(ctx)
	defer cancel()
	at, err := m.locate(brief, conn, db)
	from, _ := m.steps.find(at.step)
	found := assessment{upgrade: upgrade{db: db, at: at, from: from}, outcome: Outcome{From: from, To: m.target}}
	if err != nil || m.done(db, at) {
		return found, passing(err)
	}
	if found.upgrade, err = m.examine(brief, conn, db, at); err != nil {
		return found, passing(err)
	}
	return found, fmt.Errorf("%w: %s", ErrPending, found.lacking())
}

// passing makes it worth another attempt that a table is gone since the look, or that one which a look without the lock has
// just seen is not known yet to the session that looks: another instance has just migrated.
func passing(err error) error {
	if postgres.IsUndefinedTable(err) || postgres.IsOfAnotherKind(err) {
		return fmt.Errorf("%w: %w", postgres.ErrBusy, err)
	}
	return err
}

// lacking says in words what is missing.
func (a assessment) lacking() string {
	where := "the database is empty"
	if a.outcome.From.Number > 0 {
		where = fmt.Sprintf("the database is at step %d (%s)", a.outcome.From.Number, a.outcome.From.Release)
	}
	var names []string
	for _, step := range a.pending {
		names = append(names, fmt.Sprintf("%d %s", step.Number, step.Name))
	}
	switch {
	case len(names) > 0:
		return fmt.Sprintf("%s, pending: %s", where, strings.Join(names, ", "))
	case len(a.clearing.drop) > 0:
		return fmt.Sprintf("%s, but empty tables of a newer application are there: %s", where, strings.Join(a.clearing.drop, ", "))
	case len(a.at.missing) > 0:
		return where + ", but without indexes of it: " + a.at.missingIndexes()
	}
	return where + ", but not on record"
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
