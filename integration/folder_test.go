package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
)

// copyMigrations returns a copy of the repository's migrations/, all that is in it, which
// the image can read.
func copyMigrations(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../migrations")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // the image is not root
		t.Fatal(err)
	}
	return dir
}

// writeStep adds one more step to the folder, which gives projects a column; up is what
// it does beside that. It returns its number and its name.
func writeStep(t *testing.T, dir, up string) (number int, name string) {
	t.Helper()
	steps := loadSteps(t)
	last := steps[len(steps)-1]
	number, name = last.Number+1, "add_licence"
	const header = "-- Release: a test.\n-- Data: stays.\n-- Undo: drops projects.licence.\n"
	for suffix, text := range map[string]string{
		"up.sql":   header + "ALTER TABLE projects ADD COLUMN licence varchar;\n" + up,
		"down.sql": header + "ALTER TABLE projects DROP COLUMN licence;\n",
		"schema.txt": "alembic_version: " + last.Revision + "\nlock projects: ACCESS EXCLUSIVE\n" +
			"column projects.licence: character varying\n" + last.Shape.String(),
	} {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d_%s.%s", number, name, suffix)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return number, name
}

func mountedAtSteps(dir string) testcontainers.CustomizeRequestOption {
	return testcontainers.WithHostConfigModifier(func(host *container.HostConfig) {
		host.Binds = append(host.Binds, dir+":/steps:ro")
	})
}

// A step can be tried before it is in an image: every action takes it for one of its own.
func TestFolderOfSteps(t *testing.T) {
	dir := copyMigrations(t)
	number, name := writeStep(t, dir, "")
	mounted := mountedAtSteps(dir)
	db := newDatabase(t, v0111...)
	before := readContent(t, connect(t, db))
	does := func(action string, more ...string) result {
		return migrate(t, environment(db, append(more, "MIGRATE_ACTION", action, "MIGRATIONS_DIR", "/steps")...), mounted)
	}
	step := fmt.Sprintf("step=%d name=%s", number, name)

	does("plan").want(t, 0,
		fmt.Sprintf(`level=WARN msg="the steps are those in MIGRATIONS_DIR, not the image's own" folder=/steps steps=%d differ="%d %s"`, number, number, name),
		fmt.Sprintf("-- Step %d %s", number, name), "ALTER TABLE projects ADD COLUMN licence varchar;")
	does("check").want(t, 10, "msg=pending "+step)
	does("up").want(t, 0, "msg=migrated "+step, fmt.Sprintf("from step 13 (pepdbagent 0.11.1) to step %d", number))
	wantRows(t, db, "SELECT version::text FROM schema_migrations", fmt.Sprint(number))
	does("check").want(t, 0, fmt.Sprintf("the database is at step %d, nothing to do", number))
	does("wait").want(t, 0)
	migrate(t, environment(db, "MIGRATE_ACTION", "check")).want(t, 9, fmt.Sprintf("schema_migrations says %d", number))
	does("down", "MIGRATE_TARGET", newest).want(t, 0, "migrated back", "to step "+newest)
	migrate(t, environment(db, "MIGRATE_ACTION", "check")).want(t, 0)
	wantNewest(t, db)
	sameContent(t, before, readContent(t, connect(t, db)))
}

// A folder that cannot be used is refused before there is a server to connect to.
func TestFaultyFolder(t *testing.T) {
	remove := func(pattern string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil || files == nil {
				t.Fatal(pattern, err)
			}
			for _, file := range files {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	chmod := func(file string, mode os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, file), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		spoil func(t *testing.T, dir string)
		says  string
	}{
		"missing":         {nil, "read the steps: no such file or directory"},
		"empty":           {remove("*.*"), "there are no steps"},
		"not readable":    {chmod(".", 0o700), "read the steps: permission denied"},
		"step unreadable": {chmod("000014_version_schemas.up.sql", 0o600), "000014_version_schemas.up.sql: permission denied"},
		"no way back":     {remove("000015_*.down.sql"), "step 15 has no .down.sql file"},
		"first missing":   {remove("00000*"), "the first is step 10, and those from step 1 on are missing"},
		"draft":           {func(t *testing.T, dir string) { writeStep(t, dir, "-- TODO: is it NOT NULL?\n") }, "_add_licence.up.sql: line 5 still says TODO: write it"},
		"misnamed": {func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "000016-add.up.sql"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "000016-add.up.sql: not the name of a step's file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, at := copyMigrations(t), "/steps"
			if test.spoil == nil {
				at = "/none"
			} else {
				test.spoil(t, dir)
			}
			run := migrate(t, environment("x", "POSTGRES_HOST", "db:1", "MIGRATIONS_DIR", at), mountedAtSteps(dir))
			run.want(t, 3, "the steps in MIGRATIONS_DIR cannot be used: ", test.says)
			if strings.Contains(run.log, "waiting") {
				t.Errorf("it tried to connect:\n%s", run.log)
			}
		})
	}
}
