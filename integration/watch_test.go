package integration

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/migrator"
)

// A lock timeout says which table was waited for, and who kept it.
func TestLockTimeoutSaysForWhom(t *testing.T) {
	db := newDatabase(t, v0111...)
	holder := connect(t, db)
	execute(t, holder, "SET application_name = 'somebody'; BEGIN; SELECT FROM schemas")
	run := migrate(t, environment(db, "LOCK_TIMEOUT", "1s", "WAIT_TIMEOUT", "1s"))
	seen := fmt.Sprintf("waits_for=schemas mode=AccessExclusiveLock held_by=%d application_name=somebody state=", holder.PgConn().PID())
	run.want(t, 11, `msg="waiting for a lock" step=14 name=version_schemas`, seen, "step 14 version_schemas: canceling statement due to lock timeout")
	if strings.Count(run.log, seen) != 2 { // while it waits, and with the outcome
		t.Errorf("got %s", run.log)
	}
}

// A step that lasts says so, and what it is doing.
func TestLongStepSaysSo(t *testing.T) {
	t.Parallel()
	fsys, last := copySteps(t), lastStep(t)
	appendTo(t, fsys, last, "SET LOCAL application_name = 'pephub-migrate: sleeping'; SELECT pg_sleep(6);")
	db := newDatabase(t, v0111...)
	conn := connect(t, db)
	execute(t, conn, "SET application_name = 'the test'")
	var log bytes.Buffer
	m, err := migrator.New(fsys, config.Config{
		Action: config.Up, Server: fixed(&conn.Config().Config), WaitTimeout: time.Minute, LockTimeout: time.Minute,
	}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Migrate(context.Background(), conn.PgConn()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), fmt.Sprintf("msg=migrating step=%d name=%s elapsed=", last.Number, last.Name)) ||
		!strings.Contains(log.String(), "doing=sleeping") {
		t.Errorf("got %s", &log)
	}
	wantNobody(t, conn)
}
