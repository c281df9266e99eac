package integration

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

// running is the image at work.
type running struct {
	testcontainers.Container
	t *testing.T
}

// launch starts the image and returns as soon as its log says so much.
func launch(t *testing.T, env map[string]string, says string) running {
	t.Helper()
	run, err := testcontainers.Run(context.Background(), image,
		lockedDown(env, wait.ForLog(says).WithPollInterval(10*time.Millisecond).WithStartupTimeout(time.Minute))...)
	testcontainers.CleanupContainer(t, run)
	if err != nil {
		t.Fatal(err)
	}
	return running{run, t}
}

// engine is a client of the Docker engine that testcontainers uses.
func engine(t *testing.T) client.APIClient {
	t.Helper()
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { provider.Close() })
	return provider.Client()
}

// kill sends a signal to a container.
func kill(t *testing.T, one testcontainers.Container, signal string) {
	t.Helper()
	_, err := engine(t).ContainerKill(context.Background(), one.GetContainerID(), client.ContainerKillOptions{Signal: signal})
	if err != nil && !strings.Contains(err.Error(), "is not running") { // it was quicker
		t.Fatal(err)
	}
}

// end waits for the end of the run.
func (r running) end(limit time.Duration) result {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		state, err := r.State(ctx)
		if err != nil {
			r.t.Fatal("the run does not end: ", err)
		}
		if !state.Running {
			result, err := ended(ctx, r, state.ExitCode)
			if err != nil {
				r.t.Fatal(err)
			}
			return result
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// wantNobody fails the test if the program has a session left after half a minute.
func wantNobody(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	const sessions = "SELECT pid || ' ' || query FROM pg_stat_activity WHERE application_name LIKE 'pephub-migrate%' AND datname = current_database()"
	var left []string
	for range 300 {
		if left = query(t, conn, sessions); len(left) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("sessions are left: %q", left)
}

// A signal stops the statement on the server, not only the program.
func TestInterrupted(t *testing.T) {
	for signal, code := range map[string]int{"SIGTERM": 143, "SIGINT": 130} {
		t.Run(signal, func(t *testing.T) {
			db := newDatabase(t, v0111...)
			conn := connect(t, db)
			blocker := connect(t, db)
			execute(t, blocker, "BEGIN; SELECT FROM schemas")
			before := dump(t, db)
			run := launch(t, environment(db, "LOCK_TIMEOUT", "1m", "WAIT_TIMEOUT", "1m"), "adopted")
			start := time.Now()
			kill(t, run, signal)
			run.end(20*time.Second).want(t, code, "interrupted by "+signal)
			t.Logf("it took %s to end", time.Since(start))
			wantNobody(t, conn)
			wantUnchanged(t, db, before)
		})
	}
}

// manySamples makes each statement of a step on the tables of 0.8 last a while.
const manySamples = `
	INSERT INTO projects (id, namespace, name, tag, digest, config, private, number_of_samples, submission_date, number_of_stars)
	SELECT p, 'n' || p % 9, 'p' || p, 't', 'd', '{}', false, 500, now(), 0 FROM generate_series(1, 100) AS p;
	INSERT INTO samples (sample, project_id, row_number, sample_name)
	SELECT json_build_object('sample_name', 's' || s), p, s, 's' || s FROM generate_series(1, 100) AS p, generate_series(1, 500) AS s;
	SELECT setval('projects_id_seq', 100)`

// What an operator has set for the role or the database holds for applications, not for
// an upgrade.
func TestSettingsOfRoleAndDatabase(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.8.0.sql")
	conn := connect(t, db)
	execute(t, conn, manySamples)
	for _, setting := range []string{
		"statement_timeout = '50ms'", "idle_in_transaction_session_timeout = '50ms'", "default_transaction_read_only = on",
		"default_transaction_isolation = 'serializable'", "lock_timeout = '50ms'", "standard_conforming_strings = off", "escape_string_warning = off",
		"client_min_messages = error", "DateStyle = 'SQL, DMY'", "IntervalStyle = sql_standard", "bytea_output = escape",
		"quote_all_identifiers = on", "xmloption = document", "row_security = off", "check_function_bodies = off",
		"session_replication_role = replica", "extra_float_digits = 0", "timezone = 'Asia/Kathmandu'", "enable_seqscan = off",
	} {
		execute(t, conn, "ALTER DATABASE "+db+" SET "+setting)
	}
	before := readContent(t, conn)
	migrate(t, environment(db, "MIGRATE_TARGET", "9")).want(t, 0)
	migrate(t, environment(db, "MIGRATE_ACTION", "check", "MIGRATE_TARGET", "9")).want(t, 0)
	migrate(t, environment(db, "MIGRATE_TARGET", "10")).want(t, 0)
	if got := newCrowd(t).planned(environment(db)); got != "" {
		t.Errorf("got %s", got)
	}
	sameContent(t, before, readContent(t, conn))
	migrate(t, environment(db)).want(t, 0, "nothing to do")
	migrate(t, environment(db, "MIGRATE_ACTION", "check")).want(t, 0, "nothing to do")
}

// A version table that somebody keeps locked is a lock like any other.
func TestVersionTableIsLocked(t *testing.T) {
	db := newDatabase(t, v0111...)
	migrate(t, environment(db)).want(t, 0)
	execute(t, connect(t, db), "BEGIN; LOCK TABLE schema_migrations")
	migrate(t, environment(db, "WAIT_TIMEOUT", "2s")).want(t, 11)
}

// Whoever waits says for whom.
func TestWaitingSaysForWhom(t *testing.T) {
	db := newDatabase(t, v0111...)
	holder := connect(t, db)
	execute(t, holder, "SET application_name = 'somebody'; BEGIN; SELECT pg_advisory_xact_lock(x'7065706875622d6d'::bigint)")
	run := launch(t, environment(db), "waiting for another instance")
	execute(t, holder, "COMMIT")
	run.end(20*time.Second).want(t, 0, fmt.Sprintf("pid=%d application_name=somebody since=", holder.PgConn().PID()))
}

// While a deployment is rolled back, an older image meets a newer database. The newer
// image has written down whether the application beside the older one can work on it.
func TestDeploymentIsRolledBack(t *testing.T) {
	db := newDatabase(t)
	migrate(t, environment(db)).want(t, 0)
	conn := connect(t, db)
	execute(t, conn, "COMMENT ON TABLE schema_migrations IS NULL") // as it is where golang-migrate's CLI has made the table
	migrate(t, environment(db)).want(t, 0, "now it is on record")
	last := lastStep(t)
	wantRows(t, db, "SELECT obj_description('schema_migrations'::regclass)", fmt.Sprint("pephub-migrate: oldest_step=", last.Oldest))
	execute(t, conn, `
		UPDATE schema_migrations SET version = 99; UPDATE alembic_version SET version_num = '0123456789ab';
		ALTER TABLE projects ADD COLUMN of_the_future varchar; COMMENT ON TABLE schema_migrations IS 'pephub-migrate: oldest_step=`+newest+`'`)
	before := dump(t, db)
	migrate(t, environment(db)).want(t, 0, "level=WARN", "the database is at step 99, which is newer than this image")
	migrate(t, environment(db, "MIGRATE_TARGET", fmt.Sprint(last.Number-1))).want(t, 9)
	migrate(t, environment(db, "MIGRATE_ACTION", "down", "MIGRATE_TARGET", newest)).want(t, 9)
	wantUnchanged(t, db, before)
	for _, comment := range []string{"'pephub-migrate: oldest_step=98'", "'something else'", "NULL"} {
		execute(t, conn, "COMMENT ON TABLE schema_migrations IS "+comment)
		migrate(t, environment(db)).want(t, 9, "schema_migrations says 99")
	}
}

// While readers and writers use an old database, and one reads for long, the upgrade lets
// them by, and comes when it can.
func TestUpgradeUnderTraffic(t *testing.T) {
	db := newDatabase(t, v0111...)
	long := connect(t, db)
	execute(t, long, "BEGIN; SELECT count(*) FROM schemas")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var users sync.WaitGroup
	var guard sync.Mutex
	var longest time.Duration
	served := 0
	for range 4 {
		conn := connect(t, db)
		users.Go(func() {
			for ctx.Err() == nil {
				start := time.Now()
				_, err := conn.Exec(ctx, "UPDATE projects SET description = description WHERE id = 1; SELECT count(*) FROM schemas")
				took := time.Since(start)
				if err != nil { // the table is gone, and with it the old application
					return
				}
				guard.Lock()
				longest, served = max(longest, took), served+1
				guard.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	run := launch(t, environment(db, "LOCK_TIMEOUT", "300ms", "WAIT_TIMEOUT", "30s"), "lock timeout")
	time.Sleep(3 * time.Second)
	execute(t, long, "COMMIT")
	run.end(30*time.Second).want(t, 0)
	stop()
	users.Wait()
	wantNewest(t, db)
	t.Logf("%d statements, the longest stall was %s", served, longest)
	if served == 0 {
		t.Error("no statement got by")
	}
}

// replicated is a primary, known as one, with a database "hub" of pepdbagent 0.11.1, and
// its standby, known as two.
type replicated struct {
	t                *testing.T
	primary, standby testcontainers.Container
}

func newReplicated(t *testing.T) replicated {
	t.Helper()
	ctx := context.Background()
	primary, err := startPostgres(ctx, "one")
	testcontainers.CleanupContainer(t, primary)
	if err != nil {
		t.Fatal(err)
	}
	if code, output, err := primary.Exec(ctx, []string{"bash", "-c",
		`echo "host replication all all trust" >>"$PGDATA/pg_hba.conf" && psql --username postgres --command "SELECT pg_reload_conf()"`,
	}); err != nil || code != 0 {
		text, _ := io.ReadAll(output)
		t.Fatalf("%d %v %s", code, err, text)
	}
	standby, err := testcontainers.Run(ctx, "postgres:"+postgresVersion(),
		testcontainers.WithEntrypoint("bash", "-c", `
			mkdir -p /tmp/standby && chown postgres: /tmp/standby && chmod 700 /tmp/standby
			exec setpriv --reuid=postgres --regid=postgres --init-groups bash -c '
				pg_basebackup --host one --username postgres --pgdata /tmp/standby --write-recovery-conf --wal-method stream &&
				exec postgres -D /tmp/standby -c unix_socket_directories=/tmp'`),
		testcontainers.WithExposedPorts("5432/tcp"),
		network.WithNetworkName([]string{"two"}, server.network),
		testcontainers.WithWaitStrategy(wait.ForLog("ready to accept read-only connections").WithStartupTimeout(time.Minute)))
	testcontainers.CleanupContainer(t, standby)
	if err != nil {
		t.Fatal(err)
	}
	execute(t, connectAt(t, primary, "postgres"), "CREATE DATABASE hub")
	conn := connectAt(t, primary, "hub")
	for _, file := range v0111 {
		execute(t, conn, readFile(t, "testdata/"+file))
	}
	pair := replicated{t, primary, standby}
	pair.catchUp()
	return pair
}

// catchUp returns when the standby has all that the primary has.
func (r replicated) catchUp() {
	r.t.Helper()
	written := query(r.t, connectAt(r.t, r.primary, "postgres"), "SELECT pg_current_wal_lsn()")[0]
	follower := connectAt(r.t, r.standby, "postgres")
	for query(r.t, follower, "SELECT pg_last_wal_replay_lsn() >= '"+written+"'")[0] != "t" {
		time.Sleep(50 * time.Millisecond)
	}
}

// A standby becomes the primary in the middle of an upgrade: it takes place there, once.
func TestFailover(t *testing.T) {
	pair := newReplicated(t)
	primary, standby := pair.primary, pair.standby
	before := readContent(t, connectAt(t, primary, "hub"))
	blocker := connectAt(t, primary, "hub")
	execute(t, blocker, "BEGIN; SELECT FROM schemas")
	run := launch(t, environment("hub", "POSTGRES_HOST", "one,two", "LOCK_TIMEOUT", "1m", "WAIT_TIMEOUT", "1m"), "adopted")
	pair.catchUp()
	kill(t, primary, "SIGKILL")
	time.Sleep(500 * time.Millisecond)
	execute(t, connectAt(t, standby, "postgres"), "SELECT pg_promote()")
	end := run.end(time.Minute)
	end.want(t, 0, "connection lost", "verified")
	if strings.Count(end.log, "verified") != 1 {
		t.Errorf("it was not migrated exactly once:\n%s", end.log)
	}
	after := connectAt(t, standby, "hub")
	sameContent(t, before, readContent(t, after))
	if got := query(t, after, "SELECT version::text FROM schema_migrations"); len(got) != 1 || got[0] != newest {
		t.Errorf("the new primary is at %q", got)
	}
}

// A disk that is full in the middle of a step is a failure like any other: the database
// is as it was.
func TestDiskFull(t *testing.T) {
	ctx := context.Background()
	small, err := startPostgres(ctx, "small", testcontainers.WithTmpfs(map[string]string{"/small": "size=48m,mode=1777"}))
	testcontainers.CleanupContainer(t, small)
	if err != nil {
		t.Fatal(err)
	}
	admin := connectAt(t, small, "postgres")
	if code, _, err := small.Exec(ctx, []string{"install", "-d", "-o", "postgres", "/small/space"}); err != nil || code != 0 {
		t.Fatal(code, err)
	}
	execute(t, admin, "CREATE TABLESPACE small LOCATION '/small/space'")
	execute(t, admin, "CREATE DATABASE hub TABLESPACE small")
	conn := connectAt(t, small, "hub")
	execute(t, conn, readFile(t, "testdata/pepdbagent-0.8.0.sql")+`
		INSERT INTO projects (id, namespace, name, tag, digest, config, private, number_of_samples, submission_date, number_of_stars)
		VALUES (1, 'n', 'p', 't', 'd', '{}', false, 1, now(), 0);
		INSERT INTO samples (sample, project_id, row_number)
		SELECT json_build_object('sample_name', s, 'text', repeat(md5(s::text), 9)), 1, s FROM generate_series(1, 50000) AS s;
		SELECT setval('projects_id_seq', 1)`)
	before := readContent(t, conn)
	migrate(t, environment("hub", "POSTGRES_HOST", "small")).want(t, 7, "step 10 link_samples", "No space left on device")
	sameContent(t, before, readContent(t, conn))
}
