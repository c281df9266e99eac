package integration

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/migrator"
	"pephub-migrate/internal/postgres"
	"pephub-migrate/migrations"
)

// cutter stands between the program and the server, and cuts the first connection. Those that follow are left alone.
type cutter struct {
	after  int64  // cut when so many bytes were carried in both directions; 0 for not at all
	commit string // cut before COMMIT reaches the server: "question"; before its answer is back: "answer"

	carried   atomic.Int64
	committed atomic.Bool
}

// start returns the address to connect to.
func (c *cutter) start(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.serve(t, listener))
	return listener.Addr().String()
}

// serve forwards what comes to the listener, until it is told to stop.
func (c *cutter) serve(t testing.TB, listener net.Listener) (stop func()) {
	var all sync.WaitGroup
	all.Go(func() {
		for first := true; ; first = false {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			backend, err := net.Dial("tcp", server.address)
			if err != nil {
				t.Error(err)
				client.Close()
				return
			}
			pass := func([]byte) bool { return true }
			question, answer := pass, pass
			if first {
				question, answer = c.passQuestion, c.passAnswer
			}
			all.Go(func() { carry(client, backend, question) })
			all.Go(func() { carry(backend, client, answer) })
		}
	})
	return func() {
		listener.Close()
		all.Wait()
	}
}

// carry copies until an end is closed, or something is not to pass, and closes both ends.
func carry(from, to net.Conn, pass func([]byte) bool) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !pass(buffer[:n]) {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (c *cutter) passQuestion(data []byte) bool {
	if bytes.Contains(data, []byte("COMMIT\x00")) {
		c.committed.Store(true)
		if c.commit == "question" {
			return false
		}
	}
	return c.count(data)
}

func (c *cutter) passAnswer(data []byte) bool {
	return !(c.commit == "answer" && c.committed.Load()) && c.count(data)
}

func (c *cutter) count(data []byte) bool {
	carried := c.carried.Add(int64(len(data)))
	return c.after == 0 || carried <= c.after
}

// fixed is a configuration that does not change.
func fixed(server *pgconn.Config) func() (*pgconn.Config, error) {
	return func() (*pgconn.Config, error) { return server, nil }
}

// upgradeThrough runs the program's own line, but for the environment, in the test's process.
func upgradeThrough(t testing.TB, address, database string) (migrator.Outcome, error) {
	t.Helper()
	server := connect(t, database).Config().Config.Copy()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	server.Host, server.Port, server.Fallbacks = host, uint16(number), nil
	log := slog.New(slog.DiscardHandler)
	const limit = 10 * time.Second
	steps, err := migrator.New(migrations.FS, config.Config{
		Action: config.Up, Server: fixed(server), WaitTimeout: limit, LockTimeout: limit,
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	var outcome migrator.Outcome
	err = postgres.New(fixed(server), limit, log).Do(context.Background(), func(ctx context.Context, conn *pgconn.PgConn) (bool, error) {
		var err error
		outcome, err = steps.Migrate(ctx, conn)
		return outcome.Progress, err
	})
	return outcome, err
}

// A connection that is lost, wherever that is, is made anew, and whatever had become of the upgrade is found out: after a lost
// COMMIT there is everything left to do, after a lost answer nothing.
func TestConnectionIsCut(t *testing.T) {
	whole := &cutter{}
	db := newDatabase(t, v0111...)
	before := readContent(t, connect(t, db))
	if _, err := upgradeThrough(t, whole.start(t), db); err != nil {
		t.Fatal(err)
	}
	type cut struct {
		*cutter
		changed bool // whether it is the second connection that upgrades
	}
	cuts := map[string]cut{
		"COMMIT is lost":               {&cutter{commit: "question"}, true},
		"the answer to COMMIT is lost": {&cutter{commit: "answer"}, false},
	}
	// The last bytes are those of COMMIT and the goodbye.
	for i := range 20 * *rounds {
		after := 1 + rand.Int64N(whole.carried.Load()-200)
		cuts[fmt.Sprint(i, " after ", after)] = cut{&cutter{after: after}, true}
	}
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, v0111...)
			outcome, err := upgradeThrough(t, cut.start(t), db)
			if err != nil || outcome.Changed != cut.changed {
				t.Errorf("got %+v, %v", outcome.Changed, err)
			}
			wantNewest(t, db)
			sameContent(t, before, readContent(t, connect(t, db)))
		})
	}
}
