package migrator

import (
	"context"
	_ "embed" // for watch.sql
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/postgres"
	"pephub-migrate/internal/schema"
)

const (
	// tick is how often a transaction that lasts says so.
	tick = 5 * time.Second

	// minLook is the shortest time between two looks.
	minLook = 250 * time.Millisecond

	// watchTimeout bounds each question to the server, so that a watcher never outlasts what it watches by much.
	watchTimeout = 2 * time.Second
)

// watchSQL asks for what the server knows of the transaction at work: one row, whose columns are the keys of a line of log,
// with NULL for those that do not apply. The first is waits_for.
//
//go:embed watch.sql
var watchSQL string

// watcher tells a person who looks at the log what a transaction is doing while that lasts. The transaction's own connection
// is busy meanwhile, so what only the server knows is asked for on another, which is opened when it is first needed. Where
// there is no room for it, the log says no more than the time.
type watcher struct {
	migrator *Migrator
	cancel   context.CancelFunc
	done     sync.WaitGroup

	mu     sync.Mutex // for what follows
	step   Step
	since  time.Time
	waited string // for which lock the transaction was last seen to wait
}

// watch starts a watcher. It looks often enough to see what a statement waits for before the lock timeout.
func (m *Migrator) watch(ctx context.Context) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{migrator: m, cancel: cancel}
	w.done.Go(func() { w.run(ctx, max(minLook, min(tick, m.lockTimeout()/2))) })
	return w
}

// stop ends the watch, and returns when it has ended.
func (w *watcher) stop() {
	w.cancel()
	w.done.Wait()
}

// begin takes note of the step that is next.
func (w *watcher) begin(step Step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.step, w.since, w.waited = step, time.Now(), ""
}

// explain adds to an error of a lock timeout what was waited for, if that was seen.
func (w *watcher) explain(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waited == "" || !postgres.IsLockTimeout(err) {
		return err
	}
	return fmt.Errorf("%w; %s", err, w.waited)
}

func (w *watcher) run(ctx context.Context, every time.Duration) {
	var conn *pgconn.PgConn
	defer func() { closeWatch(conn) }()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for said := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if conn == nil || conn.IsClosed() {
			conn = w.connect(ctx)
		}
		seen := look(ctx, conn)
		if long := time.Since(said) >= tick-every/2; w.say(seen, long) {
			said = time.Now()
		}
	}
}

// connect returns nil where that fails: to watch is not worth an error.
func (w *watcher) connect(ctx context.Context) *pgconn.PgConn {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	conn, err := postgres.ConnectPrimary(ctx, w.migrator.config.Server) // of several hosts, where the transaction is
	if err != nil {
		return nil
	}
	return conn
}

func closeWatch(conn *pgconn.PgConn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), watchTimeout)
	defer cancel()
	conn.Close(ctx)
}

// look returns what the server knows of the transaction, as pairs of key and value.
func look(ctx context.Context, conn *pgconn.PgConn) (pairs []any) {
	if conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	results, err := schema.Ask(ctx, conn, strings.ReplaceAll(watchSQL, "{{holder}}", holderSQL()))
	if err != nil {
		return nil
	}
	row, err := schema.Row(results[0], len(results[0].FieldDescriptions))
	if err != nil {
		return nil
	}
	for i, value := range row {
		if value != nil {
			pairs = append(pairs, results[0].FieldDescriptions[i].Name, string(value))
		}
	}
	return pairs
}

// say logs what was seen: a wait for somebody, or work that has gone on for long. It reports the latter.
func (w *watcher) say(seen []any, long bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	var line []any
	if w.step.Number > 0 {
		line = append(line, "step", w.step.Number, "name", w.step.Name, "elapsed", time.Since(w.since).Round(100*time.Millisecond))
	}
	line = append(line, seen...)
	w.waited = ""
	if len(seen) > 0 && seen[0] == "waits_for" {
		w.waited = inWords(seen)
		w.migrator.sayWaiting("waiting for a lock", line...)
		return false
	}
	if long {
		w.migrator.log.Info("migrating", line...)
	}
	return long
}

// inWords renders pairs as a clause of an error.
func inWords(pairs []any) string {
	var words []string
	for i := 0; i < len(pairs); i += 2 {
		words = append(words, fmt.Sprintf("%s=%s", pairs[i], pairs[i+1]))
	}
	return strings.Join(words, " ")
}
