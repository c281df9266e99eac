// Package integration holds the tests of the image: they build it, give it an environment
// and a real PostgreSQL server, and expect an exit code, a line of log and a database.
package integration

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

// image is what this run builds and tests: another run on the same Docker has one of its
// own.
var image = fmt.Sprintf("pephub-migrate:test-%d", os.Getpid())

const (
	// superuser's password has every kind of character that a shell, a URL or libpq could
	// stumble over. No log may hold it.
	superuser = "postgres"
	password  = `s3cr3t p@ss/w:rd'%41"\ #?&=é`
)

// otherPassword is that of every other role. No log may hold it either.
const otherPassword = "an0ther-s3cret"

// server is the PostgreSQL server that all tests share; each has databases of its own.
var server struct {
	container testcontainers.Container
	network   string
	address   string // as the tests reach it
}

func TestMain(m *testing.M) {
	os.Exit(withServer(m))
}

func withServer(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	log.SetDefault(silence{}) // a line for every state of every container would bury the tests' own
	provider, err := testcontainers.NewDockerProvider()
	if err == nil {
		err = provider.Health(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the tests of this package need Docker:", err)
		if os.Getenv("CI") != "" {
			return 1
		}
		return 0
	}
	stop, err := start(ctx, provider)
	defer stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

type silence struct{}

func (silence) Printf(string, ...any) {}

// start builds the image and starts the server. What it returns first undoes it, even
// after an error.
func start(ctx context.Context, provider *testcontainers.DockerProvider) (stop func(), err error) {
	stop = func() {}
	repository, tag, _ := strings.Cut(image, ":")
	if _, err := provider.BuildImage(ctx, &testcontainers.ContainerRequest{
		FromDockerfile: testcontainers.FromDockerfile{Context: "..", Repo: repository, Tag: tag, KeepImage: true},
	}); err != nil {
		return stop, fmt.Errorf("build the image: %w", err)
	}
	removeImage := func() { provider.Client().ImageRemove(context.Background(), image, client.ImageRemoveOptions{}) }
	net, err := network.New(ctx)
	if err != nil {
		return removeImage, err
	}
	stop = func() {
		testcontainers.TerminateContainer(server.container)
		net.Remove(context.Background())
		removeImage()
	}
	server.network = net.Name
	server.container, err = startPostgres(ctx, "db")
	if err != nil {
		return stop, err
	}
	server.address, err = server.container.PortEndpoint(ctx, "5432/tcp", "")
	return stop, err
}

// startPostgres starts a server that other containers know as alias.
func startPostgres(ctx context.Context, alias string, more ...testcontainers.ContainerCustomizer) (testcontainers.Container, error) {
	return testcontainers.Run(ctx, "postgres:"+postgresVersion(), append([]testcontainers.ContainerCustomizer{
		testcontainers.WithEnv(map[string]string{"POSTGRES_PASSWORD": password}),
		testcontainers.WithExposedPorts("5432/tcp"),
		testcontainers.WithCmd("postgres", "-c", "fsync=off"), // nobody pulls the plug on it
		network.WithNetworkName([]string{alias}, server.network),
		testcontainers.WithWaitStrategy(
			wait.ForLog("database system is ready to accept connections").WithOccurrence(2),
			wait.ForListeningPort("5432/tcp"),
		),
	}, more...)...)
}

// postgresVersion is the major version that the tests run against.
func postgresVersion() string {
	if version := os.Getenv("POSTGRES_VERSION"); version != "" {
		return version
	}
	return "17"
}

// newDatabase makes a database, named after the test, and runs the files of testdata in
// it.
func newDatabase(t testing.TB, files ...string) string {
	t.Helper()
	return newDatabaseNamed(t, "", files...)
}

// newDatabaseNamed is newDatabase for a test that needs several.
func newDatabaseNamed(t testing.TB, suffix string, files ...string) string {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "_", " ", "_").Replace(t.Name())) + suffix
	admin := connect(t, "postgres")
	execute(t, admin, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	t.Cleanup(func() {
		execute(t, connect(t, "postgres"), "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
	})
	conn := connect(t, name)
	for _, file := range files {
		execute(t, conn, readFile(t, filepath.Join("testdata", file)))
	}
	return name
}

// connect opens a connection of the test's own, as superuser.
func connect(t testing.TB, database string) *pgx.Conn {
	t.Helper()
	return connectTo(t, server.address, database)
}

// connectAt is connect for another server than that which all tests share.
func connectAt(t *testing.T, one testcontainers.Container, database string) *pgx.Conn {
	t.Helper()
	address, err := one.PortEndpoint(context.Background(), "5432/tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	return connectTo(t, address, database)
}

func connectTo(t testing.TB, host, database string) *pgx.Conn {
	t.Helper()
	ctx := context.Background()
	address := url.URL{
		Scheme: "postgres", User: url.UserPassword(superuser, password), Host: host, Path: database,
		RawQuery: "sslmode=disable",
	}
	conn, err := pgx.Connect(ctx, address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(ctx) })
	return conn
}

// execute runs statements, several if need be.
func execute(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		t.Fatal(err)
	}
}

// query returns the first column of every row as text.
func query(t testing.TB, conn *pgx.Conn, sql string) []string {
	t.Helper()
	results, err := conn.PgConn().Exec(context.Background(), sql).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, row := range results[len(results)-1].Rows {
		lines = append(lines, string(row[0]))
	}
	return lines
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// environment leads to a database on the server; more is set on top, and a variable set
// to "" is taken out.
func environment(database string, more ...string) map[string]string {
	return with(map[string]string{
		"POSTGRES_HOST": "db", "POSTGRES_DB": database, "POSTGRES_USER": superuser, "POSTGRES_PASSWORD": password,
		"WAIT_TIMEOUT": "10s",
	}, more...)
}

// with returns an environment with more on top; a variable set to "" is taken out.
func with(env map[string]string, more ...string) map[string]string {
	all := maps.Clone(env)
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
		if more[i+1] == "" {
			delete(all, more[i])
		}
	}
	return all
}

// result is how a run of the image ended.
type result struct {
	code int
	log  string
}

// migrate runs the image to its end.
func migrate(t *testing.T, env map[string]string, options ...testcontainers.ContainerCustomizer) result {
	t.Helper()
	result, err := runImage(context.Background(), env, options...)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// lockedDown are the options for a run of the image, as locked down as the README has it.
func lockedDown(env map[string]string, until wait.Strategy) []testcontainers.ContainerCustomizer {
	return []testcontainers.ContainerCustomizer{
		testcontainers.WithEnv(env),
		network.WithNetworkName(nil, server.network),
		testcontainers.WithWaitStrategy(until),
		testcontainers.WithHostConfigModifier(func(host *container.HostConfig) {
			host.ReadonlyRootfs = true
			host.Memory = 16 << 20 // the examples' request
			host.CapDrop = []string{"ALL"}
			host.SecurityOpt = []string{"no-new-privileges"}
		}),
	}
}

func runImage(ctx context.Context, env map[string]string, options ...testcontainers.ContainerCustomizer) (result, error) {
	options = append(lockedDown(env, wait.ForExit().WithExitTimeout(2*time.Minute)), options...)
	run, err := testcontainers.Run(ctx, image, options...)
	if run == nil {
		return result{}, err
	}
	defer testcontainers.TerminateContainer(run)
	if err != nil {
		return result{}, err
	}
	state, err := run.State(ctx)
	if err != nil {
		return result{}, err
	}
	return ended(ctx, run, state.ExitCode)
}

// ended is the result of a run that has come to its end.
func ended(ctx context.Context, run testcontainers.Container, code int) (result, error) {
	reader, err := run.Logs(ctx)
	if err != nil {
		return result{}, err
	}
	defer reader.Close()
	output, err := io.ReadAll(reader)
	return result{code: code, log: string(output)}, err
}

// want fails the test unless the run ended with that code and said all of that, and no
// secret.
func (r result) want(t *testing.T, code int, log ...string) {
	t.Helper()
	for _, secret := range []string{password, url.QueryEscape(password), url.PathEscape(password), otherPassword} {
		if strings.Contains(r.log, secret) {
			t.Errorf("the log holds a secret:\n%s", r.log)
		}
	}
	if r.code != code {
		t.Errorf("exit code %d, want %d:\n%s", r.code, code, r.log)
	}
	for _, text := range log {
		if !strings.Contains(r.log, text) {
			t.Errorf("the log does not say %q:\n%s", text, r.log)
		}
	}
}

// dump returns the whole database as pg_dump writes it.
func dump(t *testing.T, database string, options ...string) string {
	t.Helper()
	code, reader, err := server.container.Exec(context.Background(),
		append([]string{"pg_dump", "--username", superuser, database}, options...), exec.Multiplexed())
	if err != nil {
		t.Fatal(err)
	}
	output, err := io.ReadAll(reader)
	if err != nil || code != 0 {
		t.Fatalf("pg_dump: %v, exit code %d\n%s", err, code, output)
	}
	var kept []string
	for line := range strings.Lines(string(output)) {
		// Newer releases fence the dump with a random word.
		if !strings.HasPrefix(line, `\restrict`) && !strings.HasPrefix(line, `\unrestrict`) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// wantUnchanged fails the test unless the whole database is as it was when it was dumped.
func wantUnchanged(t *testing.T, database, before string) {
	t.Helper()
	if after := dump(t, database); after != before {
		t.Errorf("the run changed the database:\n%s", diff(before, after))
	}
}
