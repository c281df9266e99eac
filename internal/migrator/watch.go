package migrator

import (
	"context"
	_ "embed" // for watch.sql
	"fmt"
	"io"
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

	// silence is how long no new connection may get an answer before the one at work is
	// given up: something in between forwards nothing any more. A server that is only
	// busy answers sooner, and WAIT_TIMEOUT may say more.
	silence = time.Minute

	// watchTimeout bounds each question to the server, so that a watcher never outlasts
	// what it watches by much.
	watchTimeout = 2 * time.Second
)

//go:embed watch.sql
var watchQuery string

// watchSQL returns the query for what the server knows of the transaction at work in a
// session: one row, whose columns are the keys of a line of log, with NULL for those that
// do not apply, or none if the server does not know of it. The first is waits_for.
func watchSQL(session string) string {
	return strings.NewReplacer("{{pid}}", session, "{{is_held}}", isHeldSQL()).Replace(watchQuery)
}

// errGone is why a transaction is given up whose answer cannot come any more. It is worth
// another attempt.
var errGone = fmt.Errorf("the answer does not come, and the server does not work on it: %w", io.ErrUnexpectedEOF)

// watcher tells a person who looks at the log what a transaction is doing while that
// lasts, and gives it up when the server has lost it. The transaction's own connection is
// busy meanwhile, so what only the server knows is asked for on another, which is opened
// when it is first needed. Where there is no room for it, the log says no more than the
// time.
type watcher struct {
	migrator *Migrator
	session  string                  // the number of the session that is watched
	giveUp   context.CancelCauseFunc // ends the attempt
	cancel   context.CancelFunc
	done     sync.WaitGroup

	mu     sync.Mutex // for what follows
	step   Step
	since  time.Time
	waited string // for which lock the transaction was last seen to wait
}

// watch starts a watcher. It looks often enough to see what a statement waits for before
// the lock timeout.
func (m *Migrator) watch(ctx context.Context, session string, giveUp context.CancelCauseFunc) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{migrator: m, session: session, giveUp: giveUp, cancel: cancel}
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
	said, heard := time.Now(), time.Now()
	var before sighting
	for missing := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		var err error
		if conn == nil || conn.IsClosed() {
			conn, err = w.connect(ctx)
		}
		var seen sighting
		if err == nil {
			seen, err = w.look(ctx, conn)
		}
		if !postgres.IsSilence(err) {
			heard = time.Now()
		}
		if err != nil {
			closeWatch(conn)
			conn = nil
		}
		if missing++; err != nil || !seen.gone && !seen.idles(before) {
			missing = 0
		}
		before = seen
		// An answer may be on its way whose transaction has just failed: that is seen
		// once.
		if missing > 1 || time.Since(heard) > max(silence, w.migrator.config.WaitTimeout) {
			w.giveUp(errGone)
			return
		}
		if long := time.Since(said) >= tick-every/2; w.say(seen.pairs, long) {
			said = time.Now()
		}
	}
}

func (w *watcher) connect(ctx context.Context) (*pgconn.PgConn, error) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	return postgres.ConnectPrimary(ctx, w.migrator.config.Server) // of several hosts, where the transaction is
}

func closeWatch(conn *pgconn.PgConn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), watchTimeout)
	defer cancel()
	conn.Close(ctx)
}

// sighting is what the server knows of the transaction.
type sighting struct {
	pairs     []any  // keys and values
	gone      bool   // it knows of none
	idleSince string // since when it waits for the program to go on, if it does
}

// idles reports whether the server has waited for the program all the time since another
// sighting: then it has sent its answer, and that has not come.
func (s sighting) idles(before sighting) bool {
	return s.idleSince != "" && s.idleSince == before.idleSince
}

func (w *watcher) look(ctx context.Context, conn *pgconn.PgConn) (sighting, error) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	results, err := schema.Ask(ctx, conn, watchSQL(w.session))
	if err != nil {
		return sighting{}, err
	}
	keys := results[0].FieldDescriptions
	rows, err := postgres.Rows(results[0], len(keys))
	if err != nil || len(rows) == 0 {
		return sighting{gone: err == nil}, err
	}
	var seen sighting
	for i, value := range rows[0] {
		switch {
		case value == nil:
		case keys[i].Name == "idle_since":
			seen.idleSince = string(value)
		default:
			seen.pairs = append(seen.pairs, keys[i].Name, string(value))
		}
	}
	return seen, nil
}

// say logs what was seen: a wait for somebody, or work that has gone on for long. It
// reports the latter.
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
