package integration

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
)

// Whatever stands behind the image's name, an old database is as it was, unless it is a
// plain run.
func TestArgumentsOfTheImage(t *testing.T) {
	db := newDatabase(t, v0111...)
	before := dump(t, db)
	for arguments, test := range map[string]struct {
		code int
		says string
	}{
		"plan":                      {3, "put --env MIGRATE_ACTION=plan before the image's name"},
		"up":                        {3, "put --env MIGRATE_ACTION=up before the image's name"},
		"--env MIGRATE_ACTION=plan": {3, "the option --env stands behind the image's name"},
		"--network host":            {3, "the option --network stands behind the image's name"},
		"sh -c true":                {3, "takes no arguments"},
		"--help":                    {0, "MIGRATE_ACTION"},
		"-h":                        {0, "Exit codes:"},
		"help":                      {0, "WAIT_TIMEOUT"},
		"--version":                 {0, "pephub-migrate v"},
		"version":                   {0, "pephub-migrate v"},
	} {
		t.Run(arguments, func(t *testing.T) {
			t.Parallel()
			run := migrate(t, environment(db), testcontainers.WithCmd(strings.Fields(arguments)...))
			run.want(t, test.code, test.says)
			if strings.Contains(run.log, "connected") {
				t.Errorf("it has connected:\n%s", run.log)
			}
		})
	}
	t.Cleanup(func() { wantUnchanged(t, db, before) })
}

// An empty database is filled with a warning, or left alone, as MIGRATE_EMPTY says.
func TestEmptyIsRefused(t *testing.T) {
	db := newDatabase(t)
	before := dump(t, db)
	for _, action := range []string{"up", "check", "wait", "plan"} {
		migrate(t, environment(db, "MIGRATE_EMPTY", "refuse", "MIGRATE_ACTION", action)).want(t, 6, "the database is empty, and MIGRATE_EMPTY=refuse")
	}
	wantUnchanged(t, db, before)
	migrate(t, environment(db)).want(t, 0, "level=WARN", "the empty database is now at step", "POSTGRES_DB or the volume is not the right one")
	migrate(t, environment(db, "MIGRATE_EMPTY", "refuse")).want(t, 0, "nothing to do")
}

// What goes wrong says what to do about it, in words that name the variable, the host or
// the schema.
func TestMessages(t *testing.T) {
	db := newDatabase(t, v0111...)
	conn := connect(t, db)
	execute(t, conn, "CREATE ROLE nowhere LOGIN PASSWORD '"+otherPassword+"' SUPERUSER; ALTER ROLE nowhere SET search_path = ''")
	execute(t, conn, "CREATE DATABASE closed ALLOW_CONNECTIONS false")
	t.Cleanup(func() {
		execute(t, conn, "DROP DATABASE closed")
		execute(t, conn, "DROP ROLE nowhere")
	})
	alembic := newDatabaseNamed(t, "_alembic")
	execute(t, connect(t, alembic), "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY); INSERT INTO alembic_version VALUES ('0123456789ab')")
	folder := t.TempDir()
	if err := os.Chmod(folder, 0o755); err != nil { // the image is not root
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "mine"), []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	mounted := testcontainers.WithHostConfigModifier(func(host *container.HostConfig) { host.Binds = append(host.Binds, folder+":/secrets:ro") })
	for name, test := range map[string]struct {
		env  map[string]string
		code int
		says string
	}{
		"no password":          {environment(db, "POSTGRES_PASSWORD", ""), 5, "no password is set (POSTGRES_PASSWORD)"},
		"quotes":               {environment(db, "POSTGRES_HOST", `"db"`), 3, `POSTGRES_HOST is enclosed in quotation marks`},
		"carriage return":      {environment(db, "POSTGRES_DB", db+"\r"), 3, `POSTGRES_DB has a carriage return`},
		"quoted password":      {environment(db, "POSTGRES_PASSWORD", `"`+password+`"`), 5, "POSTGRES_PASSWORD is enclosed in quotation marks"},
		"this container":       {environment(db, "POSTGRES_HOST", "localhost", "WAIT_TIMEOUT", "1s"), 4, "in a container that is the container itself"},
		"no such host":         {environment(db, "POSTGRES_HOST", "nowhere.invalid", "WAIT_TIMEOUT", "1s"), 4, "is this container on the database's network?"},
		"file of another user": {environment(db, "POSTGRES_PASSWORD", "", "POSTGRES_PASSWORD_FILE", "/secrets/mine"), 3, "POSTGRES_PASSWORD_FILE cannot be read by user 65532"},
		"folder as a file":     {environment(db, "POSTGRES_PASSWORD", "", "POSTGRES_PASSWORD_FILE", "/secrets"), 3, "POSTGRES_PASSWORD_FILE points to a folder"},
		"misspelt":             {environment(db, "WAIT_TIMOUT", "9s", "MIGRATE_ACTION", "check"), 10, "WAIT_TIMOUT is not a variable of this program"},
		"ignored":              {environment(db, "PGGEQO", "off", "MIGRATE_ACTION", "check"), 10, "variables=PGGEQO"},
		"another application":  {environment(alembic), 6, "alembic_version says 0123456789ab, which is not pepdbagent's"},
		"at once":              {environment(alembic, "WAIT_TIMEOUT", "0s"), 6, "which is not pepdbagent's"},
		"no path":              {environment(db, "POSTGRES_USER", "nowhere", "POSTGRES_PASSWORD", otherPassword), 6, "the role's search_path names no schema that is there, but schema public does"},
		"closed":               {environment("closed"), 5, "not currently accepting connections"},
		"unknown option":       {environment(db, "PGOPTIONS", "-cbogus=1"), 3, "SQLSTATE 42704"},
		"bad time zone":        {environment(db, "PGTZ", "Mars/Base"), 3, "SQLSTATE 22023"},
		"bad encoding":         {environment(db, "PGCLIENTENCODING", "klingon"), 3, "SQLSTATE 22023"},
		"require_auth":         {environment(db, "PGREQUIREAUTH", "md5"), 5, "require_auth"},
		"channel binding":      {environment(db, "PGCHANNELBINDING", "require"), 5, "channel binding"},
		"refused by name":      {environment(db, "PGGSSENCMODE", "require"), 3, "PGGSSENCMODE asks for what cannot be done here"},
		"to a standby":         {environment(db, "PGTARGETSESSIONATTRS", "standby", "MIGRATE_TARGET", "13"), 0, "now it is on record"},
		"in a URL, too":        {map[string]string{"DATABASE_URL": "postgres://u:x@db/d?gssencmode=require"}, 3, "the parameter gssencmode asks for what cannot be done"},
		"known to libpq": {map[string]string{"DATABASE_URL": fmt.Sprintf("postgres://nowhere:%s@db/%s?keepalives=1&keepalives_idle=5&tcp_user_timeout=5000&gssencmode=prefer",
			otherPassword, db)}, 6, "the role's search_path"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := migrate(t, test.env, mounted)
			run.want(t, test.code, test.says)
			for _, once := range []string{"lookup nowhere.invalid on", "127.0.0.1:5432 ("} {
				if last := run.log[strings.LastIndex(strings.TrimSpace(run.log), "\n")+1:]; strings.Count(last, once) > 1 {
					t.Errorf("it is said more than once:\n%s", run.log)
				}
			}
		})
	}
}

// The table of libpq's variables knows all that the server's own libpq reads.
func TestLibpqOfTheServer(t *testing.T) {
	_, reader, err := server.container.Exec(context.Background(), []string{"bash", "-c", "cat /usr/lib/*/libpq.so.5"})
	if err != nil {
		t.Fatal(err)
	}
	library, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	documented := readFile(t, "../docs/connecting.md")
	found := 0
	for _, match := range regexp.MustCompile(`\x00(PG[A-Z]{2,}(?:_[A-Z]+)?)\x00`).FindAllSubmatch(library, -1) {
		name := string(match[1])
		if strings.HasPrefix(name, "PGRES_") {
			continue // a result's status
		}
		found++
		if !strings.Contains(documented, "`"+name+"`") {
			t.Errorf("%s is not decided", name)
		}
	}
	if found < 20 {
		t.Errorf("only %d variables were found in the library", found)
	}
}
