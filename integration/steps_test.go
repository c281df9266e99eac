package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/migrator"
	"pephub-migrate/internal/postgres"
	"pephub-migrate/migrations"
	"pephub-migrate/migrations/snapshot"
)

// move brings a database to a step with the steps of fsys, within the test's own process.
func move(t *testing.T, fsys fs.FS, database, action string, target int) error {
	t.Helper()
	return run(t, fsys, database, config.Config{Action: action, Target: target})
}

// run is move with the rest of the configuration.
func run(t *testing.T, fsys fs.FS, database string, cfg config.Config) error {
	t.Helper()
	conn := connect(t, database)
	defer conn.Close(context.Background())
	return runOn(t, fsys, conn, cfg)
}

// runOn is run on a connection that is there.
func runOn(t *testing.T, fsys fs.FS, conn *pgx.Conn, cfg config.Config) error {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	cfg.Server, cfg.WaitTimeout, cfg.LockTimeout = fixed(&conn.Config().Config), time.Second, time.Second
	steps, err := migrator.New(fsys, cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	_, err = steps.Migrate(context.Background(), conn.PgConn())
	return err
}

func loadSteps(t *testing.T) migrator.Steps {
	t.Helper()
	steps, err := migrator.Load(migrations.FS)
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

func lastStep(t *testing.T) migrator.Step {
	t.Helper()
	steps := loadSteps(t)
	return steps[len(steps)-1]
}

// Every step leaves behind what its snapshot says, going up and coming back, and is
// recognised by it alone.
func TestEveryStep(t *testing.T) {
	db := newDatabase(t)
	conn := connect(t, db)
	steps := loadSteps(t)
	for i, step := range steps {
		if err := move(t, migrations.FS, db, config.Up, step.Number); err != nil {
			t.Fatal(err)
		}
		seen := look(t, db, steps)
		if got, want := seen.Shape.String(), step.Shape.String(); got != want {
			t.Errorf("step %d looks different from its snapshot:\n%s", step.Number, diff(want, got))
		}
		if seen.Version() != step.Number {
			t.Errorf("step %d is recorded as %q", step.Number, seen.Recorded)
		}
		execute(t, conn, "DROP TABLE IF EXISTS schema_migrations, alembic_version")
		if err := move(t, migrations.FS, db, config.Up, step.Number); err != nil {
			t.Errorf("step %d is not recognised by its shape: %v", step.Number, err)
		}
		if i == 0 {
			continue
		}
		below := steps[i-1]
		if err := move(t, migrations.FS, db, config.Down, below.Number); err != nil {
			t.Fatal(err)
		}
		if got, want := look(t, db, steps).Shape.String(), below.Shape.String(); got != want {
			t.Errorf("the way back from step %d does not lead to %d:\n%s", step.Number, below.Number, diff(want, got))
		}
		if err := move(t, migrations.FS, db, config.Up, step.Number); err != nil {
			t.Fatal(err)
		}
	}
}

// No step leads below the first, so its way back is run as it stands.
func TestFirstStepBack(t *testing.T) {
	steps := loadSteps(t)
	down := readFile(t, fmt.Sprintf("../migrations/%06d_%s.down.sql", steps[0].Number, steps[0].Name))
	db := newDatabase(t)
	if err := move(t, migrations.FS, db, config.Up, steps[0].Number); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, db)
	execute(t, conn, "INSERT INTO projects VALUES (1, 'ada', 'x', 'default', 'd', '{}', NULL)")
	_, err := conn.PgConn().Exec(context.Background(), down).ReadAll()
	if err == nil || !strings.Contains(err.Error(), "1 rows that would be lost") {
		t.Errorf("a row was lost: %v", err)
	}
	execute(t, conn, "DELETE FROM projects")
	execute(t, conn, down)
	if shape := look(t, db, steps).Shape; len(shape) != 0 {
		t.Errorf("something is left:\n%s", shape)
	}
}

// A plan names the locks that a step takes, from its snapshot.
func TestStepsSayTheirLocks(t *testing.T) {
	db := newDatabase(t)
	conn := connect(t, db)
	for _, step := range loadSteps(t) {
		name := fmt.Sprintf("../migrations/%06d_%s", step.Number, step.Name)
		var want string
		for line := range strings.Lines(readFile(t, name+".schema.txt")) {
			if strings.HasPrefix(line, "lock ") {
				want += line
			}
		}
		got, err := snapshot.Locks(context.Background(), conn.PgConn(), name+".up.sql")
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("step %d takes other locks than its snapshot says:\n%s", step.Number, diff(want, got))
		}
		execute(t, conn, readFile(t, name+".up.sql"))
	}
}

func TestSchemaFileIsNewest(t *testing.T) {
	db := newDatabase(t)
	execute(t, connect(t, db), readFile(t, "../migrations/schema.sql"))
	got, want := look(t, db, loadSteps(t)).Shape.String(), lastStep(t).Shape.String()
	if got != want {
		t.Errorf("schema.sql and the steps make different schemas:\n%s", diff(want, got))
	}
}

// Every foreign key can be followed back by an index that begins with its column.
func TestForeignKeysAreIndexed(t *testing.T) {
	db := newDatabase(t)
	if err := move(t, migrations.FS, db, config.Up, 0); err != nil {
		t.Fatal(err)
	}
	wantRows(t, db, `
		SELECT k.conname
		FROM pg_constraint AS k
		WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace
			AND NOT EXISTS (
				SELECT FROM pg_index AS i
				WHERE i.indrelid = k.conrelid AND i.indkey[0] = k.conkey[1] AND i.indpred IS NULL
			)`)
}

// The checks at the end of step 14 find every kind of row that could go missing.
func TestStep14ChecksItself(t *testing.T) {
	const file = "000014_version_schemas.up.sql"
	const beforeChecks = "-- While old and new are both there"
	for name, test := range map[string]struct{ sabotage, complaint string }{
		"version lost":    {"DELETE FROM schema_versions WHERE id = 3", "1 rows of schemas went missing"},
		"record lost":     {"DELETE FROM schema_records WHERE id = 1", "1 rows of schemas went missing"},
		"json changed":    {"UPDATE schema_versions SET schema_value = '{}' WHERE id = 1", "1 rows of schemas went missing"},
		"private changed": {"UPDATE schema_records SET private = NOT private", "4 rows of schemas went missing"},
		"group lost":      {"DELETE FROM archived_schema_groups WHERE id = 5", "1 rows of schema_groups went missing"},
		"members lost":    {"DELETE FROM archived_schema_group_relations", "3 rows of schema_group_relations went missing"},
		"tag lost":        {"DELETE FROM schema_tags WHERE tag_value IS NULL", "1 rows of schema_group_relations went missing"},
		"text lost":       {"DELETE FROM archived_project_pep_schemas WHERE project_id = 9", "1 values of projects.pep_schema went missing"},
		"link lost":       {"UPDATE projects SET schema_id = NULL WHERE id = 1", "1 links from projects to schemas went missing"},
		"counted less":    {"UPDATE users SET number_of_schemas = 0 WHERE namespace = 'ada'", "number_of_schemas miscounts by 2 schemas"},
		"counted more":    {"UPDATE users SET number_of_schemas = 9 WHERE namespace = 'geo'", "number_of_schemas miscounts by -9 schemas"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fsys := copySteps(t)
			sql := string(fsys[file].Data)
			if !strings.Contains(sql, beforeChecks) {
				t.Fatal("the checks of step 14 have moved")
			}
			fsys[file].Data = []byte(strings.Replace(sql, beforeChecks, test.sabotage+";\n"+beforeChecks, 1))
			db := newDatabase(t, v0111...)
			err := move(t, fsys, db, config.Up, 0)
			if !errors.Is(err, migrator.ErrStep) || !strings.Contains(err.Error(), test.complaint) {
				t.Errorf("got %v, want a complaint of %s", err, test.complaint)
			}
		})
	}
}

// What the last step leaves behind is compared with its snapshot before the commit.
func TestWrongResult(t *testing.T) {
	fsys := copySteps(t)
	last := lastStep(t)
	index := slices.Min(last.Shape.Names("index"))
	appendTo(t, fsys, last, "DROP INDEX "+index+"; ALTER TABLE projects ADD COLUMN of_nobody integer;")
	db := newDatabase(t, v0111...)
	before := dump(t, db)
	err := move(t, fsys, db, config.Up, 0)
	var shape *migrator.ShapeError
	if !errors.Is(err, migrator.ErrResult) || !errors.As(err, &shape) || len(shape.Differences) != 2 {
		t.Errorf("got %v, want two objects that differ", err)
	}
	wantUnchanged(t, db, before)
}

// A step has what it needs, whatever the server is set to; and what an operator has set
// to more than that is left alone.
func TestStepsHaveMemory(t *testing.T) {
	for name, test := range map[string]struct{ set, want string }{
		"too little": {"64kB", "32MB"},
		"more":       {"1GB", "1GB"},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := copySteps(t)
			appendTo(t, fsys, lastStep(t), `
				DO $$ BEGIN
					RAISE EXCEPTION '% % %', current_setting('jit'), current_setting('work_mem'), current_setting('maintenance_work_mem');
				END $$;`)
			db := newDatabase(t)
			execute(t, connect(t, db), fmt.Sprintf("ALTER DATABASE %s SET work_mem = '%s'", pgx.Identifier{db}.Sanitize(), test.set))
			if err := move(t, fsys, db, config.Up, 0); err == nil || !strings.Contains(err.Error(), "off "+test.want+" 256MB") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// An init container runs at every start of a pod, and nearly always there is nothing to
// do: one question, no lock, no table of PEPhub's read. Where there is everything to do,
// it takes one for each step and six besides, after the three of the login.
func TestRoundTrips(t *testing.T) {
	db := newDatabase(t)
	steps := len(loadSteps(t))
	if got, want := countMessages(t, db), 3+1+1+1+1+steps+1+1; got != want {
		t.Errorf("%d messages for an empty database, want %d", got, want)
	}
	const scans = "SELECT (sum(seq_scan) + sum(idx_scan))::text FROM pg_stat_user_tables WHERE relname <> ALL ('{schema_migrations,alembic_version}')"
	conn := connect(t, db)
	wantNobody(t, conn) // a session leaves its statistics when it goes
	execute(t, conn, "SELECT pg_stat_reset()")
	if got := countMessages(t, db); got != 4 {
		t.Errorf("%d messages where there is nothing to do, want 4", got)
	}
	wantNobody(t, conn)
	wantRows(t, db, scans, "0")
}

// countMessages brings a database to the newest step, and returns how many messages that
// took, but for the goodbye.
func countMessages(t *testing.T, db string) int {
	t.Helper()
	server := connect(t, db).Config().Config.Copy()
	server.RuntimeParams["application_name"] = "pephub-migrate"
	var writes atomic.Int32
	server.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, conn net.Conn) (net.Conn, error) {
		return countingConn{conn, &writes}, nil
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	const limit = 10 * time.Second
	steps, err := migrator.New(migrations.FS, config.Config{Action: config.Up, WaitTimeout: limit, LockTimeout: limit}, log)
	if err != nil {
		t.Fatal(err)
	}
	err = postgres.New(fixed(server), limit, log).Do(context.Background(), func(ctx context.Context, conn *pgconn.PgConn) (bool, error) {
		_, err := steps.Migrate(ctx, conn)
		return false, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return int(writes.Load()) - 1
}

type countingConn struct {
	net.Conn
	writes *atomic.Int32
}

func (c countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// appendTo adds statements to the way up to a step.
func appendTo(t *testing.T, fsys fstest.MapFS, step migrator.Step, sql string) {
	t.Helper()
	file := fsys[fmt.Sprintf("%06d_%s.up.sql", step.Number, step.Name)]
	file.Data = append(file.Data, "\n"+sql...)
}

// copySteps returns the steps as files that a test may spoil.
func copySteps(t *testing.T) fstest.MapFS {
	t.Helper()
	names, err := fs.Glob(migrations.FS, "*")
	if err != nil {
		t.Fatal(err)
	}
	steps := fstest.MapFS{}
	for _, name := range names {
		steps[name] = &fstest.MapFile{Data: []byte(readFile(t, filepath.Join("../migrations", name)))}
	}
	return steps
}
