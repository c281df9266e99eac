package integration

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"

	"pephub-migrate/internal/postgres"
)

// lockKey is the program's own, as PostgreSQL reads it.
const lockKey = "x'7065706875622d6d'::bigint"

// sessions are those of the program in a database.
const sessions = "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pephub-migrate%'"

// moment is one in the course of an upgrade that others can bring about.
type moment struct {
	from  []string // what the database is made of; nil for 0.11.1 with rows
	first string   // what is done to it before
	block string   // what another session does in a transaction, which it leaves open
	says  string   // what the log says before, if that is more than that the program starts
	comes string   // the condition on a session of the program by which it is known

	// The program stops, and the other session ends: the program is then between two
	// statements.
	stopped bool
	// The other session ends three seconds after the network is cut: the server answers
	// into nowhere, and waits for a receipt. As long as it does it asks nobody for a sign
	// of life.
	ends bool
}

const (
	waits   = "wait_event_type = 'Lock'"
	watched = "(SELECT count(*) " + sessions + ") = 2"

	versions  = "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)"
	revisions = `CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY);
		INSERT INTO alembic_version VALUES ('44cb1e7a80de')`

	keepLock   = "SELECT pg_advisory_xact_lock(" + lockKey + ")" // as another instance does
	keepTables = "LOCK TABLE projects IN SHARE MODE"             // which is waited for before the first step
	readSchema = "SELECT FROM schemas"                           // which step 14 waits for
	keepRow    = "SELECT FROM alembic_version FOR UPDATE"        // which is waited for after the last step

	// lastsLong makes the statement by which step 10 writes the samples last six seconds.
	lastsLong = `
		CREATE FUNCTION lasts_long(varchar) RETURNS varchar LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
			IF $1 = 'long' AND current_setting('application_name') = 'pephub-migrate: writing samples' THEN PERFORM pg_sleep(6); END IF;
			RETURN $1;
		END $$;
		CREATE INDEX lasts_long ON samples (lasts_long(sample_name));
		INSERT INTO projects (id, namespace, name, tag, digest, config, private, number_of_samples, submission_date, number_of_stars)
		VALUES (1, 'n', 'p', 't', 'd', '{}', false, 1, now(), 0);
		INSERT INTO samples (sample, project_id, row_number, sample_name) VALUES ('{"sample_name": "long"}', 1, 1, 'long');
		SELECT setval('projects_id_seq', 1)`
)

var moments = map[string]moment{
	"the first look":                        {first: versions, block: "LOCK TABLE schema_migrations", comes: waits, ends: true},
	"behind another instance":               {block: keepLock, says: "waiting for another instance", comes: "state = 'idle'"},
	"under the lock, before the steps":      {block: keepTables, comes: waits, ends: true},
	"waiting for a table":                   {block: readSchema, comes: waits},
	"waiting for a table that becomes free": {block: readSchema, comes: waits, ends: true},
	"in a long statement":                   {from: []string{"pepdbagent-0.8.0.sql"}, first: lastsLong, comes: "wait_event = 'PgSleep'"},
	"between two steps":                     {block: readSchema, comes: waits, stopped: true},
	"before COMMIT":                         {first: revisions, block: keepRow, comes: waits, stopped: true},
	"before COMMIT, with an answer to come": {first: revisions, block: keepRow, comes: waits, ends: true},
	"watched":                               {block: readSchema, comes: watched, ends: true},
	"watched, between two steps":            {block: readSchema, comes: watched, stopped: true},
}

// halted is the program at a moment of an upgrade, and a transaction of somebody else's
// who keeps it there.
type halted struct {
	running
	t        *testing.T
	db       string
	observer *pgx.Conn
	blocker  *pgx.Conn
}

// hold brings a run to a moment.
func (m moment) hold(t *testing.T, db string) halted {
	t.Helper()
	h := halted{t: t, db: db, observer: connect(t, db), blocker: connect(t, db)}
	execute(t, h.blocker, m.first)
	execute(t, h.blocker, "BEGIN; "+m.block)
	h.running = launch(t, environment(db, "LOCK_TIMEOUT", "10m", "WAIT_TIMEOUT", "10m"), cmp.Or(m.says, "starting"))
	h.wait("the moment does not come", "SELECT pid::text "+sessions+" AND "+m.comes)
	if m.stopped {
		kill(t, h, "SIGSTOP")
		execute(t, h.blocker, "COMMIT")
		h.wait("it is still at work", "SELECT pid::text "+sessions+" AND state = 'idle in transaction'")
		time.Sleep(300 * time.Millisecond) // for the receipt from the stopped one's system
	}
	return h
}

// wait returns when a query returns a row.
func (h halted) wait(otherwise, sql string) {
	h.t.Helper()
	for until := time.Now().Add(time.Minute); len(query(h.t, h.observer, sql)) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			h.t.Fatalf("%s: %q", otherwise, query(h.t, h.observer, "SELECT concat_ws(' ', pid, state, wait_event_type, query) "+sessions))
		}
	}
}

// Where nobody says goodbye, the server notices all the same that the program is gone,
// and lets go of its locks: whatever the server is at when it loses sight of the program.
func TestNetworkIsCut(t *testing.T) {
	t.Parallel()
	all := newCopies(t, "", v0111...)
	number := atomic.Int32{}
	atOnce(t, moments, func(t *testing.T, m moment) {
		suffix := fmt.Sprint("_", number.Add(1))
		db := all.template + suffix
		if m.from == nil {
			all.next(t, suffix)
		} else {
			db = newDatabase(t, m.from...)
		}
		h := m.hold(t, db)
		h.cut()
		cut := time.Now()
		if m.ends {
			time.Sleep(3 * time.Second)
			execute(t, h.blocker, "COMMIT")
		}
		h.wantGone(cut.Add(20 * time.Second))
		t.Logf("the server has noticed after %s", time.Since(cut).Round(100*time.Millisecond))
		kill(t, h, "SIGKILL") // it would take its time
		execute(t, h.blocker, "COMMIT")
		if _, err := upgradeThrough(t, server.address, db); err != nil {
			t.Error(err)
		}
	})
}

// cut takes the program off the network, without a word to anybody.
func (h halted) cut() {
	h.t.Helper()
	if _, err := engine(h.t).NetworkDisconnect(context.Background(), server.network,
		client.NetworkDisconnectOptions{Container: h.GetContainerID(), Force: true}); err != nil {
		h.t.Fatal(err)
	}
}

// wantGone fails the test if the program, or anybody but the other session, has a session
// or a lock left at that time.
func (h halted) wantGone(at time.Time) {
	h.t.Helper()
	left := fmt.Sprintf(`
		SELECT concat_ws(' ', pid, state, wait_event, age(clock_timestamp(), state_change), left(query, 80)) %s
		UNION ALL
		SELECT concat_ws(' ', pid, mode, locktype, relation::regclass) FROM pg_locks
		WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND mode ~ 'Exclusive' AND pid <> %d`,
		sessions, h.blocker.PgConn().PID())
	for len(query(h.t, h.observer, left)) > 0 {
		if time.Now().After(at) {
			h.t.Errorf("sessions or locks are left: %q", query(h.t, h.observer, left))
			execute(h.t, h.observer, "SELECT pg_terminate_backend(pid) "+sessions)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// An instance that stands still, as on a machine that swaps or is suspended, does not
// keep the others from the work for long. When it goes on, it finds that done.
func TestFrozen(t *testing.T) {
	t.Parallel()
	all := newCopies(t, "", v0111...)
	db := all.next(t, "_1")
	h := moment{first: revisions, block: keepRow, comes: waits, stopped: true}.hold(t, db)
	frozen := time.Now()
	other := launch(t, environment(db, "WAIT_TIMEOUT", "2m"), "starting")
	pid := query(t, h.observer, "SELECT pid::text "+sessions+" AND state = 'idle in transaction'")[0]
	for len(query(t, h.observer, "SELECT pid::text "+sessions+" AND pid = "+pid)) > 0 {
		if time.Since(frozen) > 45*time.Second {
			kill(t, h, "SIGKILL")
			kill(t, other, "SIGKILL")
			t.Fatalf("the server has not ended its session: %s", other.end(time.Minute).log)
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("the server ended the session after %s", time.Since(frozen).Round(100*time.Millisecond))
	second := other.end(30 * time.Second)
	second.want(t, 0, "verified")
	if strings.Contains(second.log, "waits for a lock itself") {
		t.Errorf("it took the frozen one for one that waits:\n%s", second.log)
	}
	kill(t, h, "SIGCONT")
	h.end(30*time.Second).want(t, 0, "nothing to do")
	wantWhole(t, all, db)
}

// muter is a proxy that from some moment on carries nothing any more, and closes nothing
// either.
type muter struct {
	text    string // in the program's message with which that begins
	reaches bool   // whether that message gets to the server
	all     bool   // for every connection, new ones too, rather than for the first alone

	mute atomic.Bool
}

func (m *muter) start(t *testing.T) string {
	t.Helper()
	p := &proxy{filters: m.filters, holds: m.isMute}
	return p.start(t)
}

func (m *muter) isMute(number int) bool { return m.mute.Load() && (m.all || number == 0) }

func (m *muter) filters(number int) (question, answer filter) {
	question = func(piece []byte) ([]byte, bool) {
		if m.isMute(number) {
			return nil, true
		}
		if (m.all || number == 0) && bytes.Contains(piece, []byte(m.text)) {
			m.mute.Store(true)
			if !m.reaches {
				return nil, true
			}
		}
		return piece, true
	}
	answer = func(piece []byte) ([]byte, bool) {
		if m.isMute(number) {
			return nil, true
		}
		return piece, true
	}
	return question, answer
}

// A connection that stays open and carries nothing any more is found out and replaced;
// where no other carries anything either, the run gives up in time.
func TestConnectionGoesMute(t *testing.T) {
	t.Parallel()
	all := newCopies(t, "", v0111...)
	cases := map[string]*muter{}
	for name, text := range map[string]string{"step 14": "-- Release: pepdbagent 0.12.0", "COMMIT": "COMMIT\x00"} {
		for _, m := range []*muter{{}, {reaches: true}, {all: true}, {all: true, reaches: true}} {
			m.text = text
			cases[fmt.Sprintf("%s, it reaches the server: %v, every connection: %v", name, m.reaches, m.all)] = m
		}
	}
	number := atomic.Int32{}
	atOnce(t, cases, func(t *testing.T, m *muter) {
		db := all.next(t, fmt.Sprint("_", number.Add(1)))
		var log bytes.Buffer
		run := through{m.start(t), db, time.Minute, &log}
		limit := 90 * time.Second
		if m.all {
			run.limit, limit = 10*time.Second, 90*time.Second
		}
		start := time.Now()
		err := endsWithin(t, limit, run)
		t.Logf("it ended after %s with %v", time.Since(start).Round(100*time.Millisecond), err)
		switch {
		case m.all && !errors.Is(err, postgres.ErrUnreachable), !m.all && err != nil:
			t.Errorf("it ended with %v:\n%s", err, &log)
		case !m.all:
			wantWhole(t, all, db)
		}
	})
}

// Somebody with no right to migrate can take the lock all the same. Such a one is no
// instance at work, and is named.
func TestOthersTakeTheLock(t *testing.T) {
	t.Parallel()
	all := newCopies(t, "", v0111...)
	number := atomic.Int32{}
	atOnce(t, map[string]string{"busy": "; SELECT pg_sleep(60)", "idle": ""}, func(t *testing.T, then string) {
		db := all.next(t, fmt.Sprint("_", number.Add(1)))
		role := "sits_on_it" + db[len(all.template):]
		observer := connect(t, db)
		execute(t, observer, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", role, otherPassword))
		t.Cleanup(func() { once(t, "postgres", func(conn *pgx.Conn) { execute(t, conn, "DROP ROLE "+role) }) })
		holder := connectAs(t, db, role)
		pid := holder.PgConn().PID()
		done := make(chan struct{})
		go func() {
			defer close(done)
			holder.PgConn().Exec(context.Background(), "BEGIN; "+keepLock+then).ReadAll()
		}()
		halted{t: t, observer: observer}.wait("the lock is not taken", fmt.Sprintf("SELECT pid::text FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = %d", pid))
		run := launch(t, environment(db, "WAIT_TIMEOUT", "3s"), "starting")
		run.end(10*time.Second).want(t, 11, fmt.Sprintf("pid=%d role=%s", pid, role), fmt.Sprintf("pg_terminate_backend(%d)", pid))
		execute(t, observer, fmt.Sprintf("SELECT pg_terminate_backend(%d)", pid))
		<-done
	})
}

// A prepared transaction belongs to no session, and keeps its locks over a restart of the
// server. Only its name helps.
func TestPreparedTransactionIsNamed(t *testing.T) {
	t.Parallel()
	own, err := startPostgres(context.Background(), "preparing",
		testcontainers.WithCmd("postgres", "-c", "fsync=off", "-c", "max_prepared_transactions=9"))
	testcontainers.CleanupContainer(t, own)
	if err != nil {
		t.Fatal(err)
	}
	atOnce(t, map[string]string{"advisory": keepLock, "schemas": "LOCK TABLE schemas"}, func(t *testing.T, lock string) {
		db := strings.ToLower(t.Name()[strings.LastIndexByte(t.Name(), '/')+1:])
		execute(t, connectAt(t, own, "postgres"), "CREATE DATABASE "+db)
		conn := connectAt(t, own, db)
		for _, file := range v0111 {
			execute(t, conn, readFile(t, "testdata/"+file))
		}
		gid := "left behind " + db
		execute(t, conn, "BEGIN; "+lock)
		execute(t, conn, "PREPARE TRANSACTION '"+gid+"'")
		env := environment(db, "POSTGRES_HOST", "preparing", "WAIT_TIMEOUT", "3s")
		launch(t, env, "starting").end(15*time.Second).want(t, 11, gid, "ROLLBACK PREPARED")
		execute(t, conn, "ROLLBACK PREPARED '"+gid+"'")
		launch(t, env, "starting").end(15*time.Second).want(t, 0)
	})
}
