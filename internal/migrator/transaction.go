package migrator

import (
	"context"
	_ "embed" // for holder.sql
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/postgres"
	"pephub-migrate/internal/schema"
)

// lockKey is the advisory lock that one instance at a time holds in a database:
// "pephub-m" in ASCII.
const lockKey = 0x7065706875622d6d

// inTransaction migrates between BEGIN and COMMIT, under the lock. When it or BEGIN
// fails, nothing has happened; when COMMIT fails, another look at the database must tell.
func (m *Migrator) inTransaction(ctx context.Context, conn *pgconn.PgConn) (outcome Outcome, err error) {
	defer func() {
		if err != nil {
			rollback(conn)
		}
	}()
	db, session, outcome, err := m.begin(ctx, conn)
	if err != nil {
		return outcome, err
	}
	m.seen = db
	if outcome, err = m.migrateLocked(ctx, conn, db, session); err != nil {
		return outcome, err
	}
	return outcome, m.commit(ctx, conn)
}

// begin opens the transaction, takes the lock and reads the database, in one round trip
// if the lock is free. It returns the number that the session has on the server. A lock
// that is taken is not waited for here: a statement that waits holds a snapshot, which
// delays VACUUM and CREATE INDEX CONCURRENTLY everywhere else.
func (m *Migrator) begin(ctx context.Context, conn *pgconn.PgConn) (db schema.Database, session string, _ Outcome, _ error) {
	brief, cancel := context.WithTimeout(ctx, m.lockTimeout()+maxGlanceTimeout)
	defer cancel()
	reader := m.reader.Around()
	results, err := postgres.Exec(brief, conn, strings.Join([]string{
		"BEGIN", // alone: of a message that begins with BEGIN READ WRITE, pgpool-II 4.7 drops the rest
		"SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
		tryLockSQL(), schema.Locate(), m.settingsSQL() + reader.SQL(),
	}, ";\n"))
	if err != nil {
		return db, "", Outcome{}, passing(fmt.Errorf("begin: %w", err))
	}
	const lockResult = 2
	if len(results) <= lockResult {
		return db, "", Outcome{}, fmt.Errorf("begin: %w", postgres.ErrHalf)
	}
	lock, err := postgres.Row(results[lockResult], 2)
	if err != nil {
		return db, "", Outcome{}, fmt.Errorf("begin: %w", err)
	}
	if string(lock[0]) != "t" {
		outcome, err := m.askHolder(ctx, conn)
		return db, "", outcome, err
	}
	if db, err = reader.Parse(results); err != nil {
		return db, "", Outcome{}, err
	}
	return db, string(lock[1]), Outcome{}, nil
}

// tryLockSQL is the query that takes the lock if it is free: columns whether it was, and
// the number of the session. It runs before anything has set the search path.
func tryLockSQL() string {
	return fmt.Sprintf("SELECT pg_catalog.pg_try_advisory_xact_lock(%d), pg_catalog.pg_backend_pid()", int64(lockKey))
}

// lockTimeout is not longer than the whole run may wait, unless it is for a script to be
// run later.
func (m *Migrator) lockTimeout() time.Duration {
	if m.config.Action == config.Plan {
		return m.config.LockTimeout
	}
	return max(time.Millisecond, min(m.config.LockTimeout, m.config.WaitTimeout))
}

// idleTimeout is how long the server lets a transaction wait for its client. Whoever runs
// a plan may take the time to look before the commit.
func (m *Migrator) idleTimeout() string {
	if m.config.Action == config.Plan {
		return "0"
	}
	return "30s"
}

// settingsSQL makes the settings that hold until the end of the transaction, whatever the
// role or the database is set to.
func (m *Migrator) settingsSQL() string {
	settings := map[string]string{
		"lock_timeout": fmt.Sprintf("%dms", m.lockTimeout().Milliseconds()),
		// A step takes as long as it takes.
		"statement_timeout":   "0",
		"transaction_timeout": "0", // PostgreSQL 17
		// A run that is frozen is not to keep PEPhub out. It never thinks that long
		// between two messages.
		"idle_in_transaction_session_timeout": m.idleTimeout(),
		// A row that a policy hides must be an error, not a row that is left behind.
		"row_security":                "off",
		"client_min_messages":         "notice",
		"standard_conforming_strings": "on",
		"quote_all_identifiers":       "off", // the shape is text
		// The server is to notice within seconds when this program is gone, not when the
		// statement ends; by a look at the connection while it works (PostgreSQL 14), and
		// by the other side's kernel when the network is cut.
		"client_connection_check_interval": "2s",
		"pephub_migrate.allow_data_loss":   fmt.Sprint(m.config.AllowDataLoss),
		// To compile a statement takes longer than to run it, unless the tables are
		// large, and then they are the disk's.
		"jit": "off",
	}
	maps.Copy(settings, postgres.LossSettings())
	var values []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		values = append(values, fmt.Sprintf("('%s', '%s')", name, settings[name]))
	}
	// The memory for one sort or hash table, of which a statement of the steps has two at
	// once, and its two workers as many; and that for one index. Half a gigabyte in all,
	// unless the server is set to more.
	return fmt.Sprintf(`
		SELECT set_config(name, value, true)
		FROM (VALUES %s) AS s (name, value)
		WHERE name LIKE '%%.%%' OR current_setting(name, true) IS NOT NULL
			AND (name <> 'client_connection_check_interval' OR version() ~* 'linux|darwin'); -- nowhere else can it
		SELECT set_config(name, minimum, true)
		FROM (VALUES ('work_mem', '32MB'), ('maintenance_work_mem', '256MB')) AS s (name, minimum)
		WHERE pg_size_bytes(current_setting(name)) < pg_size_bytes(minimum);`,
		strings.Join(values, ", "))
}

// sayEvery is how often an instance says whom it waits for.
const sayEvery = 10 * time.Second

func (m *Migrator) sayWaiting(message string, line ...any) {
	m.saying.Lock() // the watcher says things too
	defer m.saying.Unlock()
	if time.Since(m.said[message]) >= sayEvery {
		m.said[message] = time.Now()
		m.log.Info(message, line...)
	}
}

// holder is who has the lock: a row of holder.sql.
type holder struct {
	pid, applicationName, since, role string
	prepared                          string // the gid of a prepared transaction
	doing                             string // prepared, unable, idle, waiting or working
}

// isHeldSQL is the condition on a row l of pg_locks that it is the lock, held in this
// database. An objsubid of 1 says that the key is one bigint, not two integers.
func isHeldSQL() string {
	return fmt.Sprintf(`l.locktype = 'advisory'
    AND l.granted
    AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.classid::bigint << 32 | l.objid::bigint) = %d`, int64(lockKey))
}

//go:embed holder.sql
var holderQuery string

// holderSQL returns the query for a holder, if there is one.
func (m *Migrator) holderSQL() string {
	return strings.ReplaceAll(schema.Fill(holderQuery, m.steps.snapshots()), "{{is_held}}", isHeldSQL())
}

// findHolder returns who has the lock, or nil if nobody has.
func (m *Migrator) findHolder(ctx context.Context, conn *pgconn.PgConn) (*holder, error) {
	rows, err := schema.AskTable(ctx, conn, 6, m.holderSQL())
	if err != nil {
		return nil, passing(fmt.Errorf("look for an instance that migrates: %w", err))
	}
	if len(rows) == 0 {
		return nil, nil
	}
	text := func(i int) string { return string(rows[0][i]) }
	return &holder{text(0), text(1), text(2), text(3), text(4), text(5)}, nil
}

// busy says in an error why the lock is not to be had.
func (h holder) busy() error {
	why := "another instance is migrating"
	switch h.doing {
	case "prepared":
		why = fmt.Sprintf("the prepared transaction %q holds the lock, and nobody has ended it; "+
			"unless somebody still will: ROLLBACK PREPARED %s", h.prepared, literal(h.prepared))
	case "unable":
		why = fmt.Sprintf("session %s of role %q holds the lock, and cannot be an instance: that role cannot act for the owner of the tables; "+
			"end it: SELECT pg_terminate_backend(%[1]s)", h.pid, h.role)
	case "idle":
		why = fmt.Sprintf("another instance (session %s) has begun and does not go on", h.pid)
	case "waiting":
		why = "another instance waits for a lock itself"
	}
	return fmt.Errorf("%w: %s", postgres.ErrBusy, why)
}

// sayHolder says who has the lock.
func (m *Migrator) sayHolder(h holder) {
	line := []any{"pid", h.pid, "application_name", h.applicationName}
	if h.since != "" {
		line = append(line, "since", h.since)
	}
	switch h.doing {
	case "prepared":
		m.sayWaiting("a prepared transaction holds the lock", "gid", h.prepared)
	case "unable":
		m.sayWaiting("a session that cannot be an instance holds the lock", "pid", h.pid, "role", h.role)
	default:
		m.sayWaiting("waiting for another instance", line...)
	}
}

// askHolder says who holds the lock, if that is still somebody.
func (m *Migrator) askHolder(ctx context.Context, conn *pgconn.PgConn) (Outcome, error) {
	m.behind = true
	found, err := m.findHolder(ctx, conn)
	if err != nil {
		return Outcome{}, err
	}
	if found == nil {
		m.askedWhen = time.Time{} // to ask again at once
		return Outcome{}, fmt.Errorf("%w: another instance is migrating", postgres.ErrBusy)
	}
	m.sayHolder(*found)
	m.holder, m.askedWhen = *found, time.Now()
	return m.stillBusy()
}

func (m *Migrator) stillBusy() (Outcome, error) {
	return Outcome{Progress: m.holder.doing == "working"}, m.holder.busy()
}

// queue is the attempt of an instance that comes behind another: a hundred that look at
// the database again and again take the processor from the one that is at work. It only
// tries the lock, and lets go of it with the statement; and now and then finds out
// whether whoever has it makes progress.
func (m *Migrator) queue(ctx context.Context, conn *pgconn.PgConn) (Outcome, error) {
	ctx, cancel := m.briefly(ctx)
	defer cancel()
	results, err := schema.Ask(ctx, conn, tryLockSQL())
	if err != nil {
		return Outcome{}, passing(fmt.Errorf("try the lock: %w", err))
	}
	lock, err := postgres.Row(results[0], 2)
	if err != nil {
		return Outcome{}, fmt.Errorf("try the lock: %w", err)
	}
	if string(lock[0]) == "t" {
		m.behind = false
		return Outcome{}, nil
	}
	if time.Since(m.askedWhen) < min(time.Second, m.config.WaitTimeout/8) {
		return m.stillBusy()
	}
	return m.askHolder(ctx, conn)
}

// commitTimeout bounds how long an interrupted run waits for the answer to its COMMIT.
const commitTimeout = 10 * time.Second

// commit reports success only if the server says so: it answers COMMIT with ROLLBACK in a
// transaction that has failed. It is not interrupted: nobody could tell whether a
// cancelled COMMIT took place.
func (m *Migrator) commit(ctx context.Context, conn *pgconn.PgConn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	results, err := postgres.Exec(ctx, conn, "COMMIT")
	if err != nil && postgres.IsAnswer(err) {
		return fmt.Errorf("%w: commit: %w", ErrStep, err)
	}
	if err != nil {
		return fmt.Errorf("commit: %w", err) // whose outcome is not known
	}
	var tag string
	if len(results) > 0 {
		tag = results[0].CommandTag.String()
	}
	if tag != "COMMIT" {
		return fmt.Errorf("%w: the server answered COMMIT with %q", ErrResult, tag)
	}
	if ctx.Err() != nil {
		m.log.Warn("the commit is done on this server, and not replicated yet: no synchronous standby has confirmed it",
			"waited", commitTimeout)
	}
	return nil
}

// rollback leaves the connection fit for the next attempt, or closes it; the server then
// rolls back by itself. It has a context of its own, because the caller's may be what
// ended the work.
func rollback(conn *pgconn.PgConn) {
	if conn.IsClosed() || conn.TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := postgres.Exec(ctx, conn, "ROLLBACK"); err != nil {
		conn.Close(ctx)
	}
}
