package integration

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

// crowd is a container with a shell and the image's own binary, in which many instances
// start in the time that a container each would take to start one.
type crowd struct {
	testcontainers.Container
	t *testing.T
}

func newCrowd(t *testing.T) crowd {
	t.Helper()
	ctx := context.Background()
	source, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		ContainerRequest: testcontainers.ContainerRequest{Image: image},
	})
	testcontainers.CleanupContainer(t, source)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := source.CopyFileFromContainer(ctx, "/pephub-migrate")
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	place, err := testcontainers.Run(ctx, "postgres:"+postgresVersion(),
		testcontainers.WithEntrypoint("bash", "-c", "trap exit TERM INT; sleep infinity & wait"), // so that it stops at once
		testcontainers.WithFiles(testcontainers.ContainerFile{Reader: binary, ContainerFilePath: "/pephub-migrate", FileMode: 0o755}),
		network.WithNetworkName(nil, server.network))
	testcontainers.CleanupContainer(t, place)
	if err != nil {
		t.Fatal(err)
	}
	return crowd{place, t}
}

// run runs a script of bash and returns what it writes to standard output.
func (c crowd) run(env map[string]string, script string) string {
	c.t.Helper()
	run, err := c.command(env, "bash", "-c", script)
	if err != nil {
		c.t.Fatal(err)
	}
	result{log: run.log}.want(c.t, 0) // for its secrets: what the script ends with is in the output
	return run.log
}

// command runs a command to its end. It may be called by a goroutine, which must not end
// the test.
func (c crowd) command(env map[string]string, command ...string) (result, error) {
	var pairs []string
	for name, value := range env {
		pairs = append(pairs, name+"="+value)
	}
	code, reader, err := c.Exec(context.Background(), command, exec.WithEnv(pairs), exec.Multiplexed())
	if err != nil {
		return result{}, err
	}
	output, err := io.ReadAll(reader)
	return result{code: code, log: string(output)}, err
}

// A hundred replicas start together, more than the server has room for. One of them
// upgrades, and all of them are content.
func TestHundredAtOnce(t *testing.T) {
	const start = `
		for i in {1..120}; do /pephub-migrate 2>/tmp/log.$i & pids[i]=$!; done
		for pid in ${pids[*]}; do wait $pid; echo "exit $?"; done >/tmp/codes
		sort /tmp/codes | uniq -c
		echo changed $(grep -hE 'msg="the (empty )?database (went|is now)' /tmp/log.* | wc -l)
		echo unchanged $(grep -h 'nothing to do' /tmp/log.* | wc -l)
		grep -h level=ERROR /tmp/log.*`
	all := newCrowd(t)
	for name, files := range map[string][]string{"empty": nil, "0.11.1": v0111} {
		t.Run(name, func(t *testing.T) {
			db := newDatabase(t, files...)
			conn := connect(t, db)
			env := environment(db, "WAIT_TIMEOUT", "60s")
			for _, want := range []string{"changed 1\nunchanged 119", "changed 0\nunchanged 120"} {
				if got := all.run(env, start); !strings.Contains(got, "120 exit 0") || !strings.Contains(got, want) {
					t.Errorf("got %s", got)
				}
			}
			wantNewest(t, db)
			wantNobody(t, conn)
			wantRows(t, db, "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'", "0")
		})
	}
}

// Whenever the program is killed, the database is as it was, or done, and whoever comes
// next finds no lock.
func TestKilledAtAnyMoment(t *testing.T) {
	template := newDatabase(t, "pepdbagent-0.8.0.sql")
	conn := connect(t, template)
	execute(t, conn, manySamples)
	before := readContent(t, conn)
	one := newCrowd(t)
	execute(t, connect(t, "postgres"), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+template+"'")
	steps := loadSteps(t)
	outcomes := map[int]int{}
	killed := 0
	var takes time.Duration // a run that nobody kills
	t.Run("not at all", func(t *testing.T) {
		env := environment(copyOf(t, template))
		start := time.Now()
		if got := one.run(env, "/pephub-migrate 2>/tmp/log; echo $?"); got != "0\n" {
			t.Errorf("got %s", got)
		}
		takes = time.Since(start)
	})
	for i := range 10 * *rounds {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			db := copyOf(t, template)
			got := one.run(environment(db), fmt.Sprintf(`
				/pephub-migrate 2>/tmp/log & sleep %.3f; kill -KILL $! 2>/dev/null; wait $!; echo $?`, rand.Float64()*takes.Seconds()))
			switch {
			case strings.Contains(got, "137"):
				killed++
			case got != "0\n":
				t.Errorf("got %s", got)
			}
			conn := connect(t, db)
			wantNobody(t, conn)
			seen := look(t, db, steps)
			outcomes[seen.Version()]++
			switch {
			case seen.Version() == 0 && len(seen.Shape.Diff(steps[8].Shape)) == 0:
			case fmt.Sprint(seen.Version()) == newest:
			default:
				t.Errorf("the database is half-way: %q", seen.Recorded)
			}
			sameContent(t, before, readContent(t, conn))
			sameContent(t, before, upgradeInProcess(t, db))
		})
	}
	t.Logf("%d were killed; versions afterwards: %v", killed, outcomes)
	if killed == 0 {
		t.Error("none was killed")
	}
}

// copyOf makes a database, named after the test, that is a copy of another to which
// nobody is connected.
func copyOf(t *testing.T, template string) string {
	t.Helper()
	db := newDatabase(t)
	admin := connect(t, "postgres")
	execute(t, admin, "DROP DATABASE "+pgx.Identifier{db}.Sanitize()+" WITH (FORCE)")
	execute(t, admin, "CREATE DATABASE "+pgx.Identifier{db}.Sanitize()+" TEMPLATE "+template)
	return db
}

// Whatever answers in PostgreSQL's place, the run gives up in time, in little memory, and
// says so in a few lines.
func TestHostileServers(t *testing.T) {
	hostile, err := testcontainers.Run(context.Background(), "postgres:"+postgresVersion(),
		testcontainers.WithFiles(testcontainers.ContainerFile{
			HostFilePath: "testdata/hostile.pl", ContainerFilePath: "/hostile.pl", FileMode: 0o644,
		}),
		testcontainers.WithEntrypoint("perl", "/hostile.pl"),
		network.WithNetworkName([]string{"hostile"}, server.network),
		testcontainers.WithWaitStrategy(wait.ForLog("hostile")))
	testcontainers.CleanupContainer(t, hostile)
	if err != nil {
		t.Fatal(err)
	}
	from := newCrowd(t)
	for port := 6001; port <= 6010; port++ {
		t.Run(strconv.Itoa(port), func(t *testing.T) {
			t.Parallel()
			env := environment("x", "POSTGRES_HOST", "hostile", "POSTGRES_PORT", strconv.Itoa(port), "WAIT_TIMEOUT", "2s", "PGSSLMODE", "disable")
			// The address space of a Go program is large from the start; what it makes of
			// it is not.
			got := from.run(env, `
				/pephub-migrate 2>&1 &
				for _ in {1..20}; do sleep 0.1; grep VmHWM /proc/$!/status; done | sort | tail -1
				wait $!; echo "exit $?"`)
			if !strings.Contains(got, "exit 4\n") || !strings.Contains(got, "postgresql not reachable within 2s") {
				t.Errorf("got %s", got)
			}
			var peak int
			for line := range strings.Lines(got) {
				fmt.Sscanf(line, "VmHWM: %d kB", &peak)
			}
			if peak == 0 || peak > 32<<10 {
				t.Errorf("it took %d kB:\n%s", peak, got)
			}
			if lines := strings.Count(got, "level=INFO"); lines > 5 {
				t.Errorf("%d lines for one state:\n%s", lines, got)
			}
		})
	}
}
