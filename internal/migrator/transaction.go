package migrator

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/postgres"
	"pephub-migrate/internal/schema"
)

// lockKey is the advisory lock that one instance at a time holds in a database: "pephub-m" in ASCII.
const lockKey = 0x7065706875622d6d

// inTransaction migrates between BEGIN and COMMIT, under the lock. When it or BEGIN fails, nothing has happened; when COMMIT
// fails, another look at the database must tell.
func (m *Migrator) inTransaction(ctx context.Context, conn *pgconn.PgConn) (outcome Outcome, err error) {
	defer func() {
		if err != nil {
			rollback(conn)
		}
	}()
	db, outcome, err := m.begin(ctx, conn)
	if err != nil {
		return outcome, err
	}
	if outcome, err = m.migrateLocked(ctx, conn, db); err != nil {
		return outcome, err
	}
	return outcome, commit(ctx, conn)
}

// holderSQL returns the query for the session that holds the lock: columns pid, application_name, xact_start, and active,
// whether it makes progress. It makes none while it waits for a lock in turn, or for a client that is gone.
func holderSQL() string {
	return fmt.Sprintf(`
		SELECT l.pid, a.application_name, a.xact_start, coalesce(a.state, 'active') = 'active'
			AND NOT EXISTS (SELECT FROM pg_locks AS w WHERE w.pid = l.pid AND NOT w.granted) AS active
		FROM pg_locks AS l
		JOIN pg_stat_activity AS a ON a.pid = l.pid
		WHERE l.locktype = 'advisory' AND l.granted
			AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND (l.classid::bigint << 32 | l.objid::bigint) = %d`, int64(lockKey))
}

// holders asks for the rows of holderSQL.
func holders(ctx context.Context, conn *pgconn.PgConn) ([][][]byte, error) {
	rows, err := schema.AskTable(ctx, conn, 4, holderSQL())
	if err != nil {
		return nil, fmt.Errorf("look for an instance that migrates: %w", err)
	}
	return rows, nil
}

// begin opens the transaction, takes the lock and reads the database, in one round trip if the lock is free. A lock that is taken is not waited for
// here: a statement that waits holds a snapshot, which delays VACUUM and CREATE INDEX CONCURRENTLY everywhere else.
func (m *Migrator) begin(ctx context.Context, conn *pgconn.PgConn) (schema.Database, Outcome, error) {
	reader := m.reader.Around()
	results, err := conn.Exec(ctx, strings.Join([]string{
		"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", tryLockSQL(), schema.Locate(), m.settingsSQL() + reader.SQL(),
	}, ";\n")).ReadAll()
	if err != nil {
		return schema.Database{}, Outcome{}, passing(fmt.Errorf("begin: %w", err))
	}
	if len(results) < 2 {
		return schema.Database{}, Outcome{}, fmt.Errorf("begin: %w", io.ErrUnexpectedEOF)
	}
	locked, err := isTrue(results[1])
	if err != nil {
		return schema.Database{}, Outcome{}, fmt.Errorf("begin: %w", err)
	}
	if !locked {
		outcome, err := m.askHolder(ctx, conn)
		return schema.Database{}, outcome, err
	}
	db, err := reader.Parse(results)
	return db, Outcome{}, err
}

// tryLockSQL runs before anything has set the search path.
func tryLockSQL() string {
	return fmt.Sprintf("SELECT pg_catalog.pg_try_advisory_xact_lock(%d)", int64(lockKey))
}

// isTrue reads the boolean that a query returns.
func isTrue(result *pgconn.Result) (bool, error) {
	row, err := schema.Row(result, 1)
	return err == nil && string(row[0]) == "t", err
}

// lockTimeout is not longer than the whole run may wait, unless it is for a script to be run later.
func (m *Migrator) lockTimeout() time.Duration {
	if m.config.Action == config.Plan {
		return m.config.LockTimeout
	}
	return max(time.Millisecond, min(m.config.LockTimeout, m.config.WaitTimeout))
}

// settingsSQL makes the settings that hold until the end of the transaction, whatever the role or the database is set to.
func (m *Migrator) settingsSQL() string {
	settings := map[string]string{
		"lock_timeout": fmt.Sprintf("%dms", m.lockTimeout().Milliseconds()),
		// A step takes as long as it takes.
		"statement_timeout":                   "0",
		"transaction_timeout":                 "0", // PostgreSQL 17
		"idle_in_transaction_session_timeout": "0",
		// A row that a policy hides must be an error, not a row that is left behind.
		"row_security":                "off",
		"client_min_messages":         "notice",
		"standard_conforming_strings": "on",
		"quote_all_identifiers":       "off", // the shape is text
		// The server is to notice within seconds when this program is gone, not when the statement ends; by
		// a look at the connection while it works (PostgreSQL 14), and by the other side's kernel when the
		// network is cut.
		"client_connection_check_interval": "2s",
		"tcp_keepalives_idle":              "5",
		"tcp_keepalives_interval":          "2",
		"tcp_keepalives_count":             "3",
		"pephub_migrate.allow_data_loss":   fmt.Sprint(m.config.AllowDataLoss),
		// To compile a statement takes longer than to run it, unless the tables are large, and then they are the disk's.
		"jit": "off",
	}
	var values []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		values = append(values, fmt.Sprintf("('%s', '%s')", name, settings[name]))
	}
	// The memory for one sort or hash table, of which a statement of the steps has two at once, and its two workers as many;
	// and that for one index. Half a gigabyte in all, unless the server is set to more.
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
	if time.Since(m.said[message]) >= sayEvery {
		m.said[message] = time.Now()
		m.log.Info(message, line...)
	}
}

// sayHolder says who migrates, a row of holderSQL, and reports whether that session makes progress. A role that may not see
// what other roles do is told neither since when nor that: then it is taken to make some.
func (m *Migrator) sayHolder(holder [][]byte) (active bool) {
	line := []any{"pid", string(holder[0]), "application_name", string(holder[1])}
	if since := holder[2]; since != nil {
		line = append(line, "since", string(since))
	}
	m.sayWaiting("waiting for another instance", line...)
	return string(holder[3]) == "t"
}

// askHolder says who holds the lock, if that is still somebody.
func (m *Migrator) askHolder(ctx context.Context, conn *pgconn.PgConn) (Outcome, error) {
	m.behind = true
	holders, err := holders(ctx, conn)
	if err != nil {
		return Outcome{}, err
	}
	if len(holders) == 0 {
		m.active, m.askedWhen = false, time.Time{} // to ask again at once
		return Outcome{}, fmt.Errorf("%w: another instance is migrating", postgres.ErrBusy)
	}
	m.active, m.askedWhen = m.sayHolder(holders[0]), time.Now()
	return m.stillBusy()
}

func (m *Migrator) stillBusy() (Outcome, error) {
	if m.active {
		return Outcome{Progress: true}, fmt.Errorf("%w: another instance is migrating", postgres.ErrBusy)
	}
	return Outcome{}, fmt.Errorf("%w: another instance waits for a lock itself", postgres.ErrBusy)
}

// queue is the attempt of an instance that comes behind another: a hundred that look at the database again and again take the
// processor from the one that is at work. It only tries the lock, and lets go of it with the statement; and now and then finds out
// whether whoever has it makes progress.
func (m *Migrator) queue(ctx context.Context, conn *pgconn.PgConn) (Outcome, error) {
	ctx, cancel := m.briefly(ctx)
	defer cancel()
	results, err := schema.Ask(ctx, conn, tryLockSQL())
	if err != nil {
		return Outcome{}, fmt.Errorf("try the lock: %w", err)
	}
	if free, err := isTrue(results[0]); err != nil {
		return Outcome{}, err
	} else if free {
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

// commit reports success only if the server says so: it answers COMMIT with ROLLBACK in a transaction that has failed.
// It is not interrupted: nobody could tell whether a cancelled COMMIT took place.
func commit(ctx context.Context, conn *pgconn.PgConn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	results, err := conn.Exec(ctx, "COMMIT").ReadAll()
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	var tag string
	if len(results) > 0 {
		tag = results[0].CommandTag.String()
	}
	if tag != "COMMIT" {
		return fmt.Errorf("%w: the server answered COMMIT with %q", ErrResult, tag)
	}
	return nil
}

// rollback leaves the connection fit for the next attempt, or closes it; the server then rolls back by itself. It
// has a context of its own, because the caller's may be what ended the work.
func rollback(conn *pgconn.PgConn) {
	if conn.IsClosed() || conn.TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := conn.Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
		conn.Close(ctx)
	}
}
