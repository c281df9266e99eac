package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
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

// filter says what becomes of a piece of a stream: what is carried on, and whether the
// connection goes on.
type filter func(piece []byte) (carried []byte, goesOn bool)

func unchanged(piece []byte) ([]byte, bool) { return piece, true }

// proxy stands between the program and the server.
type proxy struct {
	// filters returns those for a connection. The first is number 0.
	filters func(number int) (question, answer filter)
	// holds reports whether one side does not hear that the other is gone; nil for never.
	holds func(number int) bool

	mu      sync.Mutex
	conns   []net.Conn
	stopped bool
}

// start returns the address to connect to.
func (p *proxy) start(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.serve(t, listener))
	return listener.Addr().String()
}

// serve carries what comes to the listener, until it is told to stop.
func (p *proxy) serve(t testing.TB, listener net.Listener) (stop func()) {
	var all sync.WaitGroup
	all.Go(func() {
		for number := 0; ; number++ {
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
			p.keep(client, backend)
			question, answer := p.filters(number)
			all.Go(func() { p.carry(number, client, backend, question) })
			all.Go(func() { p.carry(number, backend, client, answer) })
		}
	})
	return func() {
		listener.Close()
		p.close()
		all.Wait()
	}
}

// keep takes note of connections that are to be closed at the end.
func (p *proxy) keep(conns ...net.Conn) {
	p.mu.Lock()
	p.conns = append(p.conns, conns...)
	late := p.stopped
	p.mu.Unlock()
	if late {
		p.close()
	}
}

func (p *proxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	for _, conn := range p.conns {
		conn.Close()
	}
}

// carry copies until an end is closed, or the connection is not to go on, and closes
// both.
func (p *proxy) carry(number int, from, to net.Conn, filter filter) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			break
		}
		carried, goesOn := filter(buffer[:n])
		if !goesOn {
			break
		}
		if _, err := to.Write(carried); err != nil {
			break
		}
	}
	if p.holds == nil || !p.holds(number) {
		from.Close()
		to.Close()
	}
}

// cutter cuts the first connection. Those that follow are left alone.
type cutter struct {
	after  int64  // cut when so many bytes were carried in both directions; 0 for not at all
	commit string // cut before COMMIT reaches the server: "question"; before its answer is back: "answer"

	carried   atomic.Int64
	committed atomic.Bool
}

func (c *cutter) start(t *testing.T) string {
	t.Helper()
	p := &proxy{filters: func(number int) (question, answer filter) {
		if number > 0 {
			return unchanged, unchanged
		}
		return c.passQuestion, c.passAnswer
	}}
	return p.start(t)
}

func (c *cutter) passQuestion(piece []byte) ([]byte, bool) {
	if bytes.Contains(piece, []byte("COMMIT\x00")) {
		c.committed.Store(true)
		if c.commit == "question" {
			return nil, false
		}
	}
	return piece, c.count(piece)
}

func (c *cutter) passAnswer(piece []byte) ([]byte, bool) {
	return piece, !(c.commit == "answer" && c.committed.Load()) && c.count(piece)
}

func (c *cutter) count(piece []byte) bool {
	carried := c.carried.Add(int64(len(piece)))
	return c.after == 0 || carried <= c.after
}

// fixed is a configuration that does not change.
func fixed(server *pgconn.Config) func() (*pgconn.Config, error) {
	return func() (*pgconn.Config, error) { return server, nil }
}

// through is a run of the program's own line, but for the environment, in the test's own
// process.
type through struct {
	address, database string
	limit             time.Duration // how long it waits, for a lock or for anything else
	log               io.Writer
}

// upgradeThrough upgrades a database by way of an address.
func upgradeThrough(t testing.TB, address, database string) (migrator.Outcome, error) {
	t.Helper()
	return through{address, database, 10 * time.Second, io.Discard}.upgrade(context.Background(), t)
}

func (r through) upgrade(ctx context.Context, t testing.TB) (migrator.Outcome, error) {
	t.Helper()
	to, err := pgconn.ParseConfig(r.url())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	steps, err := migrator.New(migrations.FS, config.Config{
		Action: config.Up, Server: fixed(to), WaitTimeout: r.limit, LockTimeout: r.limit,
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	var outcome migrator.Outcome
	err = postgres.New(fixed(to), r.limit, log).Do(ctx, func(ctx context.Context, conn *pgconn.PgConn) (bool, error) {
		var err error
		outcome, err = steps.Migrate(ctx, conn)
		return outcome.Progress, err
	})
	return outcome, err
}

// url leads to the database.
func (r through) url() string {
	address := url.URL{
		Scheme: "postgres", User: url.UserPassword(superuser, password), Host: r.address, Path: r.database,
		RawQuery: "sslmode=disable&application_name=pephub-migrate",
	}
	return address.String()
}

// A connection that is lost, wherever that is, is made anew, and whatever had become of
// the upgrade is found out: after a lost COMMIT there is everything left to do, after a
// lost answer nothing.
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
