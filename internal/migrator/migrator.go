// Package migrator brings a PEPhub database to a step, in one transaction: it recognises
// what is there, adopts it, runs golang-migrate, and verifies the result before the
// commit.
package migrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/postgres"
	"pephub-migrate/internal/schema"
)

var (
	// ErrStep means that a step failed. Everything was rolled back.
	ErrStep = errors.New("a migration failed; rolled back")

	// ErrEmpty means that there is nothing in the database, and that the configuration
	// wants something there.
	ErrEmpty = errors.New("the database is empty, and MIGRATE_EMPTY=refuse; nothing was done")

	// ErrTarget means that the configured target is no step, or lies in the other
	// direction.
	ErrTarget = errors.New("MIGRATE_TARGET cannot be reached")
)

// Migrator knows the steps and where to take a database.
type Migrator struct {
	steps  Steps
	reader schema.Reader
	target Step
	config config.Config
	log    *slog.Logger
	logged bool                 // whether the log says where the database was found
	saying sync.Mutex           // for what follows
	said   map[string]time.Time // when the log last had each message that comes again and again

	furthest int // how many steps any attempt has got through

	behind    bool      // whether somebody else had the lock at the last attempt
	holder    holder    // who that was
	askedWhen time.Time // when that was found out

	seen        schema.Database // what the last look has shown
	unconfirmed string          // the error of the last attempt, in full, if another attempt is to confirm it
	askedAgain  bool            // whether an attempt was to be confirmed even if the wait is over
}

// Outcome is where a database was and where it is now. Of an attempt that failed, only
// Progress counts.
type Outcome struct {
	From     Step // the zero Step for an empty database
	To       Step
	Newer    int    // the step of a newer image at which an application of this one can work; otherwise 0
	Changed  bool   // false if there was nothing to do
	Rows     int64  // how many rows the steps' statements have written
	Indexes  int    // how many that the step From lacks were made
	Plan     string // what would be done, instead of doing it
	Progress bool   // whether somebody, this instance or another, got on with the job
}

// WasEmpty reports whether an empty database was filled.
func (o Outcome) WasEmpty() bool { return o.Changed && o.From.Number == 0 }

// New returns a migrator for the steps in fsys, or for those in the folder that cfg names
// instead. The error wraps ErrTarget or ErrFolder, or is about the set of steps.
func New(fsys fs.FS, cfg config.Config, log *slog.Logger) (*Migrator, error) {
	if cfg.MigrationsDir != "" {
		return newFromFolder(fsys, cfg, log)
	}
	steps, err := Load(fsys)
	if err != nil {
		return nil, err
	}
	return newMigrator(steps, cfg, log)
}

func newMigrator(steps Steps, cfg config.Config, log *slog.Logger) (*Migrator, error) {
	target, ok := steps.newest(), true
	if cfg.Target != 0 {
		target, ok = steps.find(cfg.Target)
	}
	if !ok {
		return nil, fmt.Errorf("%w: there is no step %d, only %d to %d",
			ErrTarget, cfg.Target, steps[0].Number, steps.newest().Number)
	}
	return &Migrator{
		steps:  steps,
		reader: schema.NewReader(steps.snapshots()),
		target: target,
		config: cfg,
		log:    log,
		said:   map[string]time.Time{},
	}, nil
}

// Attempt does once what the action of the configuration asks for.
func (m *Migrator) Attempt(ctx context.Context, conn *pgconn.PgConn) (Outcome, error) {
	switch m.config.Action {
	case config.Check:
		return m.Check(ctx, conn)
	case config.Wait:
		return m.Wait(ctx, conn)
	case config.Plan:
		return m.Plan(ctx, conn)
	}
	return m.Migrate(ctx, conn)
}

// Migrate is one attempt to bring the database behind conn to the target. Either it is
// there afterwards, or it is as it was. The error wraps ErrUnrecognised, ErrEmpty,
// ErrNewer, ErrTarget, ErrAttached, ErrPlanted, ErrStep, ErrResult, postgres.ErrBusy or
// postgres.ErrStandby, or is the connection's.
func (m *Migrator) Migrate(ctx context.Context, conn *pgconn.PgConn) (Outcome, error) {
	outcome, err := m.migrateOnce(ctx, conn)
	return outcome, m.confirm(ctx, conn, err)
}

// migrateOnce is Migrate with errors that another program's work may have caused. The
// first look, without the lock, only serves to find that there is nothing to do.
// PostgreSQL does not read all its catalogs as of one moment, so what it shows while
// another instance commits may be a mixture of before and after.
func (m *Migrator) migrateOnce(ctx context.Context, conn *pgconn.PgConn) (Outcome, error) {
	if m.behind {
		if outcome, err := m.queue(ctx, conn); err != nil {
			return outcome, err
		}
	}
	db, err := m.glance(ctx, conn, m.reader)
	if err != nil {
		return Outcome{}, err
	}
	if at, err := m.steps.recognise(db); err == nil && m.done(db, at) {
		return Outcome{From: m.target, To: m.target}, nil
	}
	if m.compatible(db) {
		return Outcome{Newer: db.Version()}, nil
	}
	if db.Standby {
		return Outcome{}, postgres.ErrStandby
	}
	return m.inTransaction(ctx, conn)
}

// A look without the lock takes milliseconds, unless somebody keeps a version table
// locked or the server is gone. It is given no longer than this, or than the whole run
// may wait.
const (
	minGlanceTimeout = time.Second
	maxGlanceTimeout = 5 * time.Second
)

func (m *Migrator) glance(ctx context.Context, conn *pgconn.PgConn, reader schema.Reader) (schema.Database, error) {
	ctx, cancel := m.briefly(ctx)
	defer cancel()
	db, err := reader.Read(ctx, conn)
	return db, passing(err)
}

func (m *Migrator) briefly(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, min(max(m.config.WaitTimeout, minGlanceTimeout), maxGlanceTimeout))
}

// locate recognises where the database is, and refuses to go the wrong way from there.
func (m *Migrator) locate(ctx context.Context, conn *pgconn.PgConn, db schema.Database) (position, error) {
	at, err := m.steps.recognise(db)
	if err == nil {
		at, err = m.settle(ctx, conn, db, at)
	}
	switch {
	case err != nil:
		return at, err
	case at.step == 0 && m.config.RefuseEmpty:
		return at, fmt.Errorf("%w: schema %s of it holds no table of PEPhub's", ErrEmpty, db.Schema)
	case at.step > m.target.Number && m.config.Action != config.Down:
		return at, fmt.Errorf("%w: the database is at step %d already, and only MIGRATE_ACTION=down goes back to %d",
			ErrTarget, at.step, m.target.Number)
	case at.step < m.target.Number && m.config.Action == config.Down:
		return at, fmt.Errorf("%w: the database is at step %d, and down cannot lead to %d",
			ErrTarget, at.step, m.target.Number)
	}
	return at, nil
}

// done reports whether there is nothing left to do, not even to write it down.
func (m *Migrator) done(db schema.Database, at position) bool {
	alembic := db.Alembic
	if alembic == schema.Empty {
		alembic = ""
	}
	return at.step == m.target.Number && len(at.leftovers) == 0 && len(at.stale) == 0 && len(at.missing) == 0 &&
		db.Recorded == strconv.Itoa(at.step) && db.Oldest == m.target.Oldest && alembic == m.target.Revision
}

// compatible reports whether a newer image has been here and left what an application of
// this one's newest step can work on, as it is while a deployment is rolled back. That
// image knows, and has written it down.
func (m *Migrator) compatible(db schema.Database) bool {
	return m.config.Action != config.Down && db.Version() > m.steps.newest().Number &&
		db.Oldest > 0 && db.Oldest <= m.target.Number
}

// migrateLocked does the work of the transaction, in which the database was read again:
// another instance may have been quicker. session is its number on the server. If the
// watcher finds out that the server has it no more, no answer is waited for.
func (m *Migrator) migrateLocked(ctx context.Context, conn *pgconn.PgConn, db schema.Database, session string) (Outcome, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watcher := m.watch(ctx, session, cancel)
	outcome, err := m.move(ctx, conn, db, watcher)
	watcher.stop()
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errGone) {
		return outcome, cause
	}
	return outcome, watcher.explain(err)
}

// move takes the database that was read to the target, whichever way that is.
func (m *Migrator) move(ctx context.Context, conn *pgconn.PgConn, db schema.Database, watcher *watcher) (Outcome, error) {
	at, err := m.locate(ctx, conn, db)
	if err != nil {
		return Outcome{}, err
	}
	from, _ := m.steps.find(at.step)
	outcome := Outcome{From: from, To: m.target}
	if m.done(db, at) {
		return outcome, nil
	}
	outcome.Changed, outcome.Indexes = true, len(at.missing)
	u, err := m.prepare(ctx, conn, db, at)
	if err != nil {
		return outcome, err
	}
	m.logPosition(db, from)
	m.logUpgrade(u)
	if _, err := execute(ctx, conn, m.before(u)); err != nil {
		return outcome, err
	}
	if outcome.Progress, outcome.Rows, err = m.run(ctx, conn, at.step, watcher); err != nil {
		return outcome, err
	}
	results, err := execute(ctx, conn, m.after(u), m.reader.SQL(), m.attachedSQL(true))
	if err != nil {
		return outcome, err
	}
	return outcome, m.verify(results, u)
}

// run lets golang-migrate take the steps, and returns how many rows were written. It
// reports progress if it got further than any attempt before: failing repeatedly on the
// same lock is not progress.
func (m *Migrator) run(ctx context.Context, conn *pgconn.PgConn, at int, watcher *watcher) (progress bool, rows int64, err error) {
	if at == m.target.Number {
		return false, 0, nil
	}
	driver := &driver{ctx: ctx, conn: conn, log: m.log, watcher: watcher, steps: m.steps, version: at}
	if at == 0 {
		driver.version = database.NilVersion
	}
	engine, err := newEngine(driver)
	if err != nil {
		return false, 0, err
	}
	err = reach(engine, driver, m.target.Number)
	progress = driver.taken > m.furthest
	m.furthest = max(m.furthest, driver.taken)
	return progress, driver.rows, err
}

func newEngine(driver *driver) (*migrate.Migrate, error) {
	engine, err := migrate.NewWithInstance("steps", stepSource{driver.steps}, "postgres", driver)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStep, err)
	}
	// Bodies that are read ahead are never freed when a step fails, and a failed attempt
	// may be one of many.
	engine.PrefetchMigrations = 0
	return engine, nil
}

// reach takes golang-migrate's word for an error, but not for success: it returns nil
// when it was stopped half-way.
func reach(engine *migrate.Migrate, driver *driver, target int) error {
	if err := engine.Migrate(uint(target)); err != nil {
		return err
	}
	if driver.version != target {
		return fmt.Errorf("%w: golang-migrate stopped at step %d on the way to %d", ErrStep, driver.version, target)
	}
	return nil
}

// pathSQL makes the unqualified names of the steps lead to PEPhub's tables, until another
// look or the end of the transaction.
func pathSQL(db schema.Database) string { return "SET LOCAL search_path = " + db.Path + ";\n" }

// recordSQL writes both version tables: golang-migrate's own, so that its CLI can read
// the database, with the oldest step whose applications can work on the result, for the
// images that come after; and Alembic's, so that a pepdbagent that is started with
// run_migrations=True finds nothing to do. At a step that is older than Alembic,
// alembic_version stays away or becomes empty.
func (m *Migrator) recordSQL(db schema.Database) string {
	var sql string
	migrations, alembic := db.Schema+".schema_migrations", db.Schema+".alembic_version"
	if db.Recorded == "" {
		sql = "CREATE TABLE " + migrations + " (version bigint PRIMARY KEY, dirty boolean NOT NULL);\n"
	}
	sql += fmt.Sprintf("DELETE FROM ONLY %[1]s;\nINSERT INTO %[1]s (version, dirty) VALUES (%[2]d, false);\n"+
		"COMMENT ON TABLE %[1]s IS 'pephub-migrate: oldest_step=%[3]d';\n", migrations, m.target.Number, m.target.Oldest)
	if m.target.Revision != "" && db.Alembic == "" {
		sql += "CREATE TABLE " + alembic + " (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY);\n"
	}
	if db.Alembic != "" {
		sql += "DELETE FROM ONLY " + alembic + ";\n"
	}
	if m.target.Revision != "" {
		sql += fmt.Sprintf("INSERT INTO %s (version_num) VALUES ('%s');\n", alembic, m.target.Revision)
	}
	return sql
}

// verify compares what the last results say of the database with the target's snapshot,
// and with what must be attached to it.
func (m *Migrator) verify(results []*pgconn.Result, u upgrade) error {
	if len(results) == 0 {
		return fmt.Errorf("%w: the server does not say what the result is", ErrResult)
	}
	last := len(results) - 1
	db, err := m.reader.Parse(results[:last])
	if err != nil {
		return err
	}
	if !m.target.matches(db.Shape) {
		return &ShapeError{Class: ErrResult, Nearest: m.target, Differences: db.Shape.Diff(m.target.Shape)}
	}
	if !m.done(db, position{step: m.target.Number}) {
		return fmt.Errorf("%w: schema_migrations says %q, its comment %d, and alembic_version %q",
			ErrResult, db.Recorded, db.Oldest, db.Alembic)
	}
	attached, err := parseAttached(results[last])
	if err != nil {
		return err
	}
	if missing := u.carried.missing(attached); len(missing) > 0 {
		return &ObstacleError{Class: ErrAttached, Obstacles: obstacles(missing, db.Schema)}
	}
	m.log.Info("verified", "step", m.target.Number, "objects", len(db.Shape))
	return nil
}
