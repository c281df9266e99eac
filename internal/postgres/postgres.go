// Package postgres reaches the server, or says why not, and knows which failures a retry
// can cure.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// The ways in which an attempt ends for good.
var (
	// ErrUnreachable means that no attempt got through to a server that can do the work,
	// until the wait was over.
	ErrUnreachable = errors.New("postgresql not reachable")

	// ErrRefused means that the server does not let this role do what it must: wrong
	// credentials, a missing privilege, no such database. A retry does not help.
	ErrRefused = errors.New("refused by postgresql")

	// ErrParameter means that the server, or a pooler in front of it, does not take a
	// parameter of the connection: PGOPTIONS, PGTZ, PGCLIENTENCODING or those of a URL. A
	// retry does not help.
	ErrParameter = errors.New("a parameter of the connection is not accepted")

	// ErrBusy means that locks were held by others until the wait was over. Work returns
	// it, wrapped, to be run again.
	ErrBusy = errors.New("locked by another session")

	// ErrUnable is what work returns to be run again when the server has answered that it
	// cannot do what it should: it is out of memory, or a file cannot be read.
	ErrUnable = errors.New("the server is not able to answer")

	// ErrStandby is what work returns to be run again on the primary.
	ErrStandby = errors.New("the server is a standby and cannot be written to")
)

// errLost means that the connection broke in the middle of the work.
var errLost = errors.New("connection lost")

// Again wraps an error of work so that the work is run again, after a longer pause than
// other errors make: it waits for what others have to do.
type Again struct {
	Err    error
	Anyway bool // even if the wait is over
}

// Error says what is waited for.
func (a Again) Error() string { return a.Err.Error() }

// Unwrap returns what is waited for.
func (a Again) Unwrap() error { return a.Err }

const (
	// connectTimeout bounds one attempt at one host, unless connect_timeout says
	// otherwise. A server that accepts and never answers may be one of several hosts.
	connectTimeout = 5 * time.Second

	// minConnectTimeout makes even a wait of zero one honest attempt.
	minConnectTimeout = time.Second

	// cancelDelay is how long the server has to stop a statement when a context has
	// ended.
	cancelDelay = time.Second

	// maxMessage is far above the largest message there is, an error that lists projects
	// by the thousand; in bytes.
	maxMessage = 8 << 20

	// The pause between two attempts doubles from the first to the last, so that a server
	// that comes up is found at once and one that stays away is not hammered.
	firstPause = 10 * time.Millisecond
	lastPause  = 250 * time.Millisecond

	// againPause is the longest before a look at what others have to do: hundreds may be
	// looking, for minutes.
	againPause = 5 * time.Second
)

// Work is one attempt on one connection. What it began and did not commit is rolled back
// by the time it returns; an error that a retry may cure is tried again, on the same
// connection if that is still good. It reports progress if somebody, itself or another
// instance, got on with the job: the wait then begins anew.
type Work func(ctx context.Context, conn *pgconn.PgConn) (progress bool, err error)

// Source returns how to connect. It is asked anew for each connection, since passwords
// and certificates change.
type Source func() (*pgconn.Config, error)

// Server is a PostgreSQL server, or several of which one is the primary.
type Server struct {
	source  Source
	wait    time.Duration
	log     *slog.Logger
	config  *pgconn.Config       // of the last connection
	primary bool                 // whether only a server will do that can be written to
	conn    *pgconn.PgConn       // kept from one attempt to the next; nil if there is none
	said    map[string]time.Time // when each state was last seen
}

// New returns the server that source leads to. Attempts are given up after wait without
// progress.
func New(source Source, wait time.Duration, log *slog.Logger) *Server {
	return &Server{source: source, wait: wait, log: log, said: map[string]time.Time{}}
}

// ConnectPrimary opens one connection, to that of several hosts that can be written to.
// It does not try again.
func ConnectPrimary(ctx context.Context, source Source) (*pgconn.PgConn, error) {
	config, err := source()
	if err != nil {
		return nil, err
	}
	return pgconn.ConnectConfig(ctx, prepare(config, true))
}

// prepare returns a copy with what pgconn has no good default for.
func prepare(config *pgconn.Config, primary bool) *pgconn.Config {
	config = config.Copy()
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if primary {
		config.ValidateConnect = canWrite
	} else if config.ValidateConnect != nil {
		config.ValidateConnect = checked(config.ValidateConnect)
	}
	// With pgconn's default, a cancelled context closes the socket while the statement
	// goes on in the server, and with it the transaction and its locks.
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: cancelDelay}
	}
	// Else whoever speaks another protocol makes pgconn set up to 1 GB aside for a
	// message that never comes.
	config.MaxProtocolMessageBodyLen = maxMessage
	return config
}

// canWrite returns an error for a connection to a standby. That a role's transactions are
// read-only by default is no matter.
func canWrite(ctx context.Context, conn *pgconn.PgConn) error {
	results, err := Exec(ctx, conn, NoticeLossSQL(conn)+";\nSELECT pg_catalog.pg_is_in_recovery()")
	if err != nil {
		return err
	}
	last, err := Last(results, 1)
	if err != nil {
		return err
	}
	row, err := Row(last[0], 1)
	if err == nil && string(row[0]) == "t" {
		err = pgconn.ErrReadOnlyConnection
	}
	return err
}

// checked makes an error of what pgconn's own checks of a connection do with half an
// answer: they index it.
func checked(validate pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	return func(ctx context.Context, conn *pgconn.PgConn) (err error) {
		defer func() {
			if recover() != nil {
				err = ErrHalf
			}
		}()
		defer hangUp(ctx, conn)()
		return validate(ctx, conn)
	}
}

// LossSettings are the settings by which the server's kernel notices within seconds that
// the other side is gone: by probes, and, where an answer is not acknowledged, so that
// there are no probes, by a limit of its own.
func LossSettings() map[string]string {
	return map[string]string{
		"tcp_keepalives_idle": "5s", "tcp_keepalives_interval": "2s", "tcp_keepalives_count": "3", "tcp_user_timeout": "11s",
	}
}

// NoticeLossSQL makes LossSettings hold for the whole session, if it is nobody else's: a
// pooler, behind which it may be, has given the client another number than the server
// has. It has a transaction of its own, so that they outlast a look that fails; the
// search path may lead anywhere there.
func NoticeLossSQL(conn *pgconn.PgConn) string {
	var values []string
	for name, value := range LossSettings() {
		values = append(values, fmt.Sprintf("('%s', '%s')", name, value))
	}
	slices.Sort(values)
	return fmt.Sprintf("START TRANSACTION ISOLATION LEVEL READ COMMITTED;\nSELECT pg_catalog.set_config(name, value, false) FROM (VALUES %s) AS s (name, value) "+
		"WHERE pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) %d;\nCOMMIT", strings.Join(values, ", "), int32(conn.PID()))
}

// Exec sends statements in one message and returns their results. It ends soon after the
// context does, whatever the server sends. After an error that is no answer of the
// server's the connection is closed: nobody knows what is still to come on it.
func Exec(ctx context.Context, conn *pgconn.PgConn, sql string) ([]*pgconn.Result, error) {
	defer hangUp(ctx, conn)()
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil && !IsAnswer(err) {
		conn.Conn().Close()
		return nil, fmt.Errorf("%w: %w", errLost, err)
	}
	return results, err
}

// hangUp closes a connection that is still in use a while after the context has ended:
// pgconn does not look at the context any more once ReadyForQuery has come, and goes on
// waiting for the end of a result that was sent without one.
func hangUp(ctx context.Context, conn *pgconn.PgConn) (stop func()) {
	const grace = 2 * cancelDelay
	done := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		select {
		case <-done:
		case <-time.After(grace):
			conn.Conn().Close()
		}
	})
	return func() {
		close(done)
		forget()
	}
}

// forget is how long a state must have been absent to be news again.
const forget = 10 * time.Second

// say logs a change of state. A server that comes and goes many times a second is one
// such state.
func (s *Server) say(message string, pairs ...any) {
	line := fmt.Sprint(message, pairs)
	if last, ok := s.said[line]; !ok || time.Since(last) >= forget {
		s.log.Info(message, pairs...)
	}
	s.said[line] = time.Now()
}

// logNotice passes on what a step says with RAISE, and warnings. Other notices are the
// server's remarks on IF EXISTS.
func logNotice(log *slog.Logger, notice *pgconn.Notice) {
	switch {
	case notice.SeverityUnlocalized == "WARNING":
		if notice.Detail != "" {
			log = log.With("detail", notice.Detail)
		}
		log.Warn(notice.Message)
	case notice.Code == successfulCompletion:
		log.Info(notice.Message)
	}
}

// Do connects and does the work, again and again, until an attempt succeeds, fails for a
// reason that no retry cures, or the wait is over. The error is then the work's own, or
// wraps ErrUnreachable, ErrRefused or ErrBusy.
func (s *Server) Do(ctx context.Context, work Work) error {
	defer s.close()
	deadline := time.Now().Add(s.wait)
	for pause := firstPause; ; pause *= 2 {
		progress, err := s.attempt(ctx, deadline, work)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if judge(err) != passes && !s.changed(err) {
			return classify(err, s.config)
		}
		if progress {
			deadline = time.Now().Add(s.wait)
		}
		s.say("waiting", "reason", reason(err))
		left := time.Until(deadline)
		if left <= 0 && !isAnyway(err) {
			return giveUp(err, s.wait)
		}
		if isAgain(err) {
			s.close() // whoever is to do it may be in need of a connection
			// Often enough for whoever is at work not to go unseen for most of the wait.
			pause = min(pause, againPause, max(firstPause, s.wait/4))
		} else {
			pause = min(pause, lastPause)
		}
		if err := Sleep(ctx, min(jitter(pause), max(left, firstPause))); err != nil {
			return err
		}
	}
}

// attempt connects, unless the last attempt left a good connection, and does the work
// once.
func (s *Server) attempt(ctx context.Context, deadline time.Time, work Work) (progress bool, err error) {
	if s.conn == nil {
		if err := s.connect(ctx, deadline); err != nil {
			return false, err
		}
	}
	progress, err = work(ctx, s.conn)
	if isReadOnly(err) {
		s.leaveStandby()
	}
	garbled := errors.Is(err, errLost) || errors.Is(err, io.ErrUnexpectedEOF) // and the rest may still be to come
	if garbled || s.conn != nil && (s.conn.IsClosed() || s.conn.TxStatus() != 'I') {
		s.close()
	}
	return progress, err
}

func (s *Server) connect(ctx context.Context, deadline time.Time) error {
	if soonest := time.Now().Add(minConnectTimeout); deadline.Before(soonest) {
		deadline = soonest
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	config, err := s.source()
	if err != nil {
		return Again{Err: err} // a file that is just being replaced
	}
	s.config = prepare(config, s.primary)
	s.config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { logNotice(s.log, notice) }
	conn, err := pgconn.ConnectConfig(ctx, s.config)
	if err != nil {
		return err
	}
	s.conn = conn
	s.say("connected", "address", conn.Conn().RemoteAddr().String(), "database", s.config.Database,
		"postgresql", conn.ParameterStatus("server_version"))
	return nil
}

// changed reports whether a server has refused a login that is not the one any more to
// which the configuration leads: a Secret was rotated, or a token renewed.
func (s *Server) changed(err error) bool {
	if s.config == nil || judge(err) != refuses || !isWrongPassword(err) {
		return false
	}
	now, err := s.source()
	return err == nil && (now.Password != s.config.Password || now.User != s.config.User)
}

// leaveStandby makes the next attempt look for the primary: among several hosts, or
// behind a name that moves. The first attempt takes any server, since one that is up to
// date needs no primary.
func (s *Server) leaveStandby() {
	s.close()
	s.primary = true
}

// close says goodbye, so that the server's log has no "unexpected EOF on client
// connection".
func (s *Server) close() {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.conn.Close(ctx)
	s.conn = nil
}

// jitter keeps a hundred replicas that were started together from knocking together.
func jitter(pause time.Duration) time.Duration {
	return pause/2 + rand.N(pause/2)
}

// Sleep returns the context's error if that ends first.
func Sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func giveUp(err error, wait time.Duration) error {
	err = brief(err)
	class := ErrUnreachable
	switch {
	case isAgain(err):
		return fmt.Errorf("waited for %s: %w", wait, err)
	case isBusy(err):
		class = ErrBusy
	}
	return fmt.Errorf("%w within %s: %w", class, wait, err)
}
