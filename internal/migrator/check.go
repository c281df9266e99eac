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

// ErrPending means that the database is not at the target: there is something for
// MIGRATE_ACTION=up to do.
var ErrPending = errors.New("not at the target")

// Check is one attempt to find out whether the database behind conn is at the target. It
// only reads, and takes no lock that anybody could notice; a standby will do. The error
// wraps ErrPending, or one of those for which Migrate would leave the database alone:
// ErrUnrecognised, ErrEmpty, ErrNewer, ErrTarget, ErrAttached, ErrPlanted.
func (m *Migrator) Check(ctx context.Context, conn *pgconn.PgConn) (Outcome, error) {
	found, err := m.assess(ctx, conn)
	for _, step := range found.pending {
		m.log.Info("pending", "step", step.Number, "name", step.Name, "release", step.Release)
	}
	return found.outcome, err
}

// Wait is Check for whom another instance is to do the work: as long as there is some it
// asks to be called again, and reports progress if that instance is at it. A standby does
// not know whether it is.
func (m *Migrator) Wait(ctx context.Context, conn *pgconn.PgConn) (Outcome, error) {
	found, err := m.assess(ctx, conn)
	if !errors.Is(err, ErrPending) && !postgres.IsLockTimeout(err) { // of a table that the other instance has locked
		return found.outcome, err
	}
	brief, cancel := m.briefly(ctx)
	defer cancel()
	holder, lookErr := m.findHolder(brief, conn)
	if lookErr != nil {
		return found.outcome, lookErr
	}
	if holder != nil {
		m.sayHolder(*holder)
		found.outcome.Progress = holder.doing == "working"
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

// assess looks without the lock. What is left to do is an ErrPending.
func (m *Migrator) assess(ctx context.Context, conn *pgconn.PgConn) (assessment, error) {
	found, err := m.assessOnce(ctx, conn)
	return found, m.confirm(ctx, conn, err)
}

// standStill is how long a database must be as it was for an error to count that another
// program's work may have caused: at the most a second, and a tenth of what the whole run
// may wait.
func (m *Migrator) standStill() time.Duration {
	return max(100*time.Millisecond, min(time.Second, m.config.WaitTimeout/10))
}

// confirm makes an error of an attempt one that is tried again, unless the attempt before
// has ended in the same one on the same database. Another program may be making tables
// just now, one by one or in a transaction that commits between a look and a statement,
// and what a look without the lock shows while that commits may be a mixture of before
// and after.
func (m *Migrator) confirm(ctx context.Context, conn *pgconn.PgConn, err error) error {
	if !isRefusal(err) && !errors.Is(err, ErrResult) && !(errors.Is(err, ErrStep) && postgres.IsCatalogChange(err)) {
		m.unconfirmed = ""
		return err
	}
	if errors.Is(err, ErrUnrecognised) && postgres.IsAnswer(err) {
		return err // it is no PostgreSQL
	}
	found := inFull(err) + fingerprint(m.seen.Shape, m.seen.Recorded, m.seen.Alembic, m.seen.Oldest)
	if m.unconfirmed != found {
		m.unconfirmed = found
		if !m.standsStill(ctx, conn) {
			m.unconfirmed = ""
		}
		again := postgres.Again{Err: err, Anyway: !m.askedAgain}
		m.askedAgain = true
		return again
	}
	if errors.Is(err, ErrUnrecognised) {
		m.nameUndecided(ctx, conn, m.seen)
	}
	return err
}

// standsStill reports whether the database stays as it was last seen.
func (m *Migrator) standsStill(ctx context.Context, conn *pgconn.PgConn) bool {
	const looks = 5
	pause := m.standStill() / looks
	for range looks {
		if postgres.Sleep(ctx, pause) != nil {
			return false
		}
		db, err := m.glance(ctx, conn, m.reader)
		if err != nil || !db.Same(m.seen) {
			return false
		}
	}
	return true
}

// inFull is an error with what else it names.
func inFull(err error) string {
	text := err.Error()
	var shape *ShapeError
	if errors.As(err, &shape) {
		text += fmt.Sprint(shape.Differences)
	}
	var obstacles *ObstacleError
	if errors.As(err, &obstacles) {
		text += fmt.Sprint(obstacles.Obstacles)
	}
	return text
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
	m.seen = db
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

// passing gives an error of a look its class. It is worth another attempt that a table is
// gone since the look before, or that one which a look without the lock has just seen is
// not known yet to the session that looks: another instance has just migrated. So is what
// the server cannot do just now. But if it does not know what every PostgreSQL knows, it
// is none.
func passing(err error) error {
	switch {
	case postgres.IsUndefinedTable(err), postgres.IsOfAnotherKind(err):
		return fmt.Errorf("%w: %w", postgres.ErrBusy, err)
	case !postgres.IsAnswer(err), postgres.IsClassified(err), isRefusal(err), errors.Is(err, ErrStep):
		return err
	case postgres.IsUnable(err):
		return fmt.Errorf("%w: %w", postgres.ErrUnable, err)
	}
	return fmt.Errorf("%w: the server does not answer as PostgreSQL 13 or newer does: %w", ErrUnrecognised, err)
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
