package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/migrator"
	"pephub-migrate/internal/postgres"
)

// garbler spoils one piece of what the server says to the first connection.
type garbler struct {
	*rand.Rand
	way    string // what becomes of the piece: see ways
	bytes  bool   // whether the piece is cut anywhere, rather than between messages
	at     int    // where it begins: how many bytes or messages were before it
	length int    // of how many it is

	seen int
	rest []byte // the beginning of a message that is not whole yet
	done bool
}

var ways = []string{"sent twice", "lost", "swapped", "flipped"}

// newGarbler chooses a way and a place in a stream of so many messages or bytes.
func newGarbler(seed uint64, messages, octets int) *garbler {
	g := &garbler{Rand: rand.New(rand.NewPCG(seed, 1))}
	g.way, g.bytes = ways[seed%uint64(len(ways))], seed/uint64(len(ways))%3 == 0
	if g.bytes {
		g.at, g.length = g.IntN(octets), 1+g.IntN(200)
	} else {
		g.at, g.length = g.IntN(messages), 1+g.IntN(1+g.IntN(50))
	}
	return g
}

func (g *garbler) String() string {
	unit := "messages"
	if g.bytes {
		unit = "bytes"
	}
	return fmt.Sprintf("%d %s after %d are %s", g.length, unit, g.at, g.way)
}

func (g *garbler) start(t *testing.T) string {
	t.Helper()
	p := &proxy{filters: func(number int) (question, answer filter) {
		if number > 0 {
			return unchanged, unchanged
		}
		return unchanged, func(piece []byte) ([]byte, bool) { return g.spoil(piece), true }
	}}
	return p.start(t)
}

// spoil returns what is carried on of what was read at once.
func (g *garbler) spoil(read []byte) []byte {
	parts := g.cut(read)
	before := g.seen
	g.seen += len(parts)
	if g.done || g.seen <= g.at {
		return bytes.Join(parts, nil)
	}
	first := max(0, g.at-before)
	last := min(first+g.length, len(parts))
	g.done = true
	switch g.way {
	case "sent twice":
		parts = slices.Insert(parts, last, slices.Clone(parts[first:last])...)
	case "lost":
		parts = slices.Delete(parts, first, last)
	case "swapped":
		end := min(last+g.length, len(parts))
		g.done = end > last // or else with the next that come together
		parts = slices.Concat(parts[:first], parts[last:end], parts[first:last], parts[end:])
	case "flipped":
		part := slices.Clone(parts[first])
		part[g.IntN(len(part))] ^= byte(1 + g.IntN(255))
		parts[first] = part
	}
	return bytes.Join(parts, nil)
}

// cut takes a stream apart: into bytes, or into messages, of which the last may not be
// whole yet.
func (g *garbler) cut(read []byte) (parts [][]byte) {
	if g.bytes {
		return slices.Collect(slices.Chunk(read, 1))
	}
	g.rest = append(g.rest, read...)
	for len(g.rest) >= 5 {
		length := 1 + int(binary.BigEndian.Uint32(g.rest[1:]))
		if len(g.rest) < length {
			break
		}
		parts = append(parts, g.rest[:length:length])
		g.rest = g.rest[length:]
	}
	return parts
}

// copies makes copies of one database for tests of which many run at once: the server has
// no room for connections that each of them leaves open.
type copies struct {
	template string
	content  content
}

func newCopies(t *testing.T, suffix string, files ...string) copies {
	t.Helper()
	template := newDatabaseNamed(t, suffix, files...)
	before := readContent(t, connect(t, template))
	execute(t, connect(t, "postgres"), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+template+"'")
	return copies{template, before}
}

// next returns the name of a new copy.
func (c copies) next(t *testing.T, suffix string) string {
	t.Helper()
	name := pgx.Identifier{c.template + suffix}.Sanitize()
	once(t, "postgres", func(conn *pgx.Conn) { execute(t, conn, "CREATE DATABASE "+name+" TEMPLATE "+c.template) })
	t.Cleanup(func() {
		once(t, "postgres", func(conn *pgx.Conn) { execute(t, conn, "DROP DATABASE "+name+" WITH (FORCE)") })
	})
	return c.template + suffix
}

// once uses a connection and closes it.
func once(t *testing.T, database string, use func(*pgx.Conn)) {
	t.Helper()
	address := through{address: server.address, database: database}
	config, err := pgx.ParseConfig(address.url())
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["application_name"], config.RuntimeParams["lock_timeout"] = "the test", "20s"
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	use(conn)
}

// atOnce runs all subtests at the same time, however few processors there are: they wait
// more than they work.
func atOnce[Case any](t *testing.T, cases map[string]Case, test func(*testing.T, Case)) {
	t.Helper()
	var all sync.WaitGroup
	for name, one := range cases {
		all.Go(func() { t.Run(name, func(t *testing.T) { test(t, one) }) })
	}
	all.Wait()
}

// Whatever becomes of an answer on its way, nothing is done by halves, and the next run,
// if not this one, brings the database to the newest step.
func TestAnswersAreGarbled(t *testing.T) {
	t.Parallel()
	all := newCopies(t, "", v0111...)
	messages, octets := measure(t, all)
	cases := map[string]*garbler{}
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	for i := range 20 * *rounds {
		g := newGarbler(seed+i, messages, octets)
		cases[fmt.Sprint(seed+i, ": ", g)] = g
	}
	atOnce(t, cases, func(t *testing.T, g *garbler) { upgradeGarbled(t, all, g) })
}

// measure returns how much a server says during an upgrade.
func measure(t *testing.T, all copies) (messages, octets int) {
	t.Helper()
	for _, count := range []*garbler{{at: 1 << 30}, {at: 1 << 30, bytes: true}} {
		db := all.next(t, fmt.Sprint("_whole_", count.bytes))
		if _, err := upgradeThrough(t, count.start(t), db); err != nil {
			t.Fatal(err)
		}
		messages, octets = octets, count.seen
	}
	return messages, octets
}

// hangs is how long a run may take until it must be taken for one that never ends.
const hangs = 75 * time.Second

func upgradeGarbled(t *testing.T, all copies, g *garbler) {
	db := all.next(t, fmt.Sprint("_", g.Uint32()))
	var log bytes.Buffer
	start := time.Now()
	err := endsWithin(t, hangs, through{g.start(t), db, 10 * time.Second, &log})
	took := time.Since(start).Round(time.Millisecond)
	t.Logf("%s: it took %s and ended with %v", g, took, err)
	if isNoAnswer(err) {
		t.Errorf("an answer that is none is no reason to give up: %v", err)
	}
	defer func() {
		if t.Failed() {
			t.Logf("%s", &log)
		}
	}()
	wantWhole(t, all, db)
	if _, err := upgradeThrough(t, server.address, db); err != nil {
		t.Errorf("the next run: %v", err)
	}
	wantWhole(t, all, db)
	once(t, db, func(conn *pgx.Conn) {
		if got := query(t, conn, "SELECT version::text FROM schema_migrations"); len(got) != 1 || got[0] != newest {
			t.Errorf("the database is at %q", got)
		}
	})
}

// isNoAnswer reports whether a run ended with what no server has said, or could have
// meant.
func isNoAnswer(err error) bool {
	if err == nil || errors.As(err, new(*pgconn.PgError)) {
		return false
	}
	return !slices.ContainsFunc([]error{
		postgres.ErrUnreachable, postgres.ErrBusy, postgres.ErrRefused, migrator.ErrUnrecognised,
		migrator.ErrNewer, migrator.ErrResult, migrator.ErrAttached, migrator.ErrPlanted,
	}, func(class error) bool { return errors.Is(err, class) })
}

// endsWithin upgrades, and fails the test if that panics or does not end.
func endsWithin(t *testing.T, limit time.Duration, run through) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if reason := recover(); reason != nil {
				t.Errorf("a panic: %v\n%s", reason, debug.Stack())
				done <- errors.New("a panic")
			}
		}()
		_, err := run.upgrade(ctx, t)
		done <- err
	}()
	select {
	case err := <-done:
		if ctx.Err() != nil {
			t.Errorf("it had to be interrupted after %s", limit)
		}
		return err
	case <-time.After(limit + 15*time.Second):
		t.Errorf("it did not even end when it was interrupted after %s", limit)
		return ctx.Err()
	}
}

// wantWhole fails the test unless the content of a copy is that of the template.
func wantWhole(t *testing.T, all copies, db string) {
	t.Helper()
	once(t, db, func(conn *pgx.Conn) { sameContent(t, all.content, readContent(t, conn)) })
}
