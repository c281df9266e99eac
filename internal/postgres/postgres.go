// Package postgres reaches the server, or says why not, and knows which failures a retry can cure.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// The ways in which an attempt ends for good.
var (
	// ErrUnreachable means that no attempt got through to a server that can do the work, until the wait was over.
	ErrUnreachable = errors.New("postgresql not reachable")

	// ErrRefused means that the server does not let this role do what it must: wrong credentials, a missing
	// privilege, no such database. A retry does not help.
	ErrRefused = errors.New("refused by postgresql")

	// ErrBusy means that locks were held by others until the wait was over.
	ErrBusy = errors.New("locked by another session")

	// ErrOtherInstance is an ErrBusy that work returns to be run again when another run of this program holds the
	// lock. It is progress: the wait begins anew.
	ErrOtherInstance = fmt.Errorf("%w: another instance is migrating", ErrBusy)
)

const (
	// connectTimeout bounds one attempt at one host, unless connect_timeout says otherwise. A server that accepts
	// and never answers may be one of several hosts.
	connectTimeout = 5 * time.Second

	// minConnectTimeout makes even a wait of zero one honest attempt.
	minConnectTimeout = time.Second

	// pgxConnectTimeout is what pgconn.ParseConfig sets where connect_timeout is not given.
	pgxConnectTimeout = 2 * time.Minute

	// The pause between two attempts doubles from the first to the last, so that a server that comes up is found
	// at once and one that stays away is not hammered.
	firstPause = 10 * time.Millisecond
	lastPause  = 250 * time.Millisecond
)

// Work is one attempt on one connection. What it began and did not commit is rolled back by the time it returns; an
// error that Retryable approves of is tried again, on the same connection if that is still good.
type Work func(ctx context.Context, conn *pgconn.PgConn) error

// Server is a PostgreSQL server, or several of which one is the primary.
type Server struct {
	config *pgconn.Config
	wait   time.Duration
	log    *slog.Logger
}

// New returns the server that config leads to. Attempts are given up after wait without progress.
func New(config *pgconn.Config, wait time.Duration, log *slog.Logger) *Server {
	config = config.Copy()
	if config.ConnectTimeout == pgxConnectTimeout {
		config.ConnectTimeout = connectTimeout
	}
	// With pgconn's default, a cancelled context closes the socket while the statement goes on in the server, and
	// with it the transaction and its locks.
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: time.Second}
	}
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		logNotice(log, notice)
	}
	return &Server{config: config, wait: wait, log: log}
}

// logNotice passes on what a step says with RAISE, and warnings. Other notices are the server's remarks on IF EXISTS.
func logNotice(log *slog.Logger, notice *pgconn.Notice) {
	switch {
	case notice.SeverityUnlocalized == "WARNING":
		log.Warn(notice.Message)
	case notice.Code == successfulCompletion:
		log.Info(notice.Message)
	}
}

// Address is the first host and port, as an operator would write it.
func (s *Server) Address() string {
	if s.config.Host[0] == '/' {
		return s.config.Host
	}
	return net.JoinHostPort(s.config.Host, strconv.Itoa(int(s.config.Port)))
}

// Do connects and does the work, again and again, until an attempt succeeds, fails for a reason that no retry cures,
// or the wait is over. The error is then the work's own, or wraps ErrUnreachable, ErrRefused or ErrBusy.
func (s *Server) Do(ctx context.Context, work Work) error {
	attempts := attempts{server: s}
	defer attempts.close()
	deadline := time.Now().Add(s.wait)
	reported := ""
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		connected := attempts.conn != nil
		err := attempts.once(ctx, deadline, work)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !Retryable(err) {
			return classify(err)
		}
		if !connected && attempts.conn != nil {
			pause = firstPause
		}
		if errors.Is(err, ErrOtherInstance) {
			deadline = time.Now().Add(s.wait)
		}
		if cause := reason(err); cause != reported {
			s.log.Info("waiting", "host", s.Address(), "reason", cause)
			reported = cause
		}
		if time.Now().Add(pause).After(deadline) {
			return giveUp(err, s.wait)
		}
		if err := sleep(ctx, jitter(pause)); err != nil {
			return err
		}
	}
}

// attempts keeps the connection from one attempt to the next.
type attempts struct {
	server *Server
	conn   *pgconn.PgConn
}

func (a *attempts) once(ctx context.Context, deadline time.Time, work Work) error {
	if a.conn == nil {
		if soonest := time.Now().Add(minConnectTimeout); deadline.Before(soonest) {
			deadline = soonest
		}
		dialCtx, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		conn, err := pgconn.ConnectConfig(dialCtx, a.server.config)
		if err != nil {
			return err
		}
		a.conn = conn
		a.server.log.Info("connected", "host", a.server.Address(), "database", a.server.config.Database,
			"postgresql", conn.ParameterStatus("server_version"))
	}
	err := work(ctx, a.conn)
	if a.conn.IsClosed() {
		a.conn = nil
	}
	return err
}

// close says goodbye, so that the server's log has no "unexpected EOF on client connection".
func (a *attempts) close() {
	if a.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	a.conn.Close(ctx)
}

// jitter keeps a hundred replicas that were started together from knocking together.
func jitter(pause time.Duration) time.Duration {
	return pause/2 + rand.N(pause/2)
}

func sleep(ctx context.Context, pause time.Duration) error {
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
	class := ErrUnreachable
	if isBusy(err) {
		class = ErrBusy
	}
	return fmt.Errorf("%w within %s: %w", class, wait, err)
}
