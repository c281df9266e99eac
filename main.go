// Pephub-migrate brings a PEPhub database to the newest schema: it waits until PostgreSQL answers, recognises what is
// there, and upgrades it in one transaction. Its environment is described in package config, its exit codes below.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/migrator"
	"pephub-migrate/internal/postgres"
	"pephub-migrate/migrations"
)

func main() {
	log := newLogger()
	answer, err := askedFor(os.Args[1:])
	if err != nil {
		os.Exit(conclude(context.Background(), log, migrator.Outcome{}, err))
	}
	if answer != "" {
		fmt.Println(answer)
		return
	}
	ctx := interruptible(context.Background())
	start := time.Now()
	outcome, err := run(ctx, log)
	os.Exit(conclude(ctx, log.With("duration", time.Since(start).Round(time.Millisecond)), outcome, err))
}

// errOutput means that there was no place for what the program was to say.
var errOutput = errors.New("the plan cannot be written to standard output")

// run is the whole line: environment, server, one transaction.
func run(ctx context.Context, log *slog.Logger) (migrator.Outcome, error) {
	cfg, err := config.FromEnv()
	for _, warning := range cfg.Warnings {
		log.Warn(warning)
	}
	if err != nil {
		return migrator.Outcome{}, err
	}
	log.Info("starting", "version", version(), "action", cfg.Action)
	if len(cfg.Ignored) > 0 {
		log.Info("these variables of libpq's have no effect here", "variables", strings.Join(cfg.Ignored, " "))
	}
	// The image's steps are read while the server answers. A fault in them is not to wait for a server. An operator's own,
	// which no test has seen, are read and checked before anything else.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var steps *migrator.Migrator
	var faulty error
	var reading sync.WaitGroup
	if cfg.MigrationsDir != "" {
		if steps, err = migrator.NewFromFolder(migrations.FS, cfg, log); err != nil {
			return migrator.Outcome{}, err
		}
	} else {
		reading.Go(func() {
			if steps, faulty = migrator.New(migrations.FS, cfg, log); faulty != nil {
				cancel(faulty)
			}
		})
	}
	var outcome migrator.Outcome
	server := postgres.New(cfg.Server, cfg.WaitTimeout, log)
	err = server.Do(ctx, func(ctx context.Context, conn *pgconn.PgConn) (progress bool, err error) {
		reading.Wait()
		if faulty != nil {
			return false, faulty
		}
		outcome, err = attempt(steps, cfg.Action)(ctx, conn)
		return outcome.Progress, err
	})
	reading.Wait()
	if faulty != nil {
		return outcome, faulty // rather than what became of the connection
	}
	if err != nil {
		return outcome, err
	}
	if _, err := os.Stdout.WriteString(outcome.Plan); err != nil {
		return outcome, fmt.Errorf("%w: %w", errOutput, err)
	}
	return outcome, nil
}

// attempt is what one connection is used for.
func attempt(steps *migrator.Migrator, action string) func(context.Context, *pgconn.PgConn) (migrator.Outcome, error) {
	switch action {
	case config.Check:
		return steps.Check
	case config.Wait:
		return steps.Wait
	case config.Plan:
		return steps.Plan
	}
	return steps.Migrate
}

// ending is one way for the program to end: the exit code, and what its caller can do.
type ending struct {
	class error
	code  int
	hint  string
}

// endings returns the exit codes in the order in which an error is held against them: a step that failed for want of a
// privilege is first of all a refusal.
func endings() []ending {
	return []ending{
		{errOutput, 1, "make room where it goes, and start again"},
		{config.ErrInvalid, 3, "correct the variable and start again"},
		{migrator.ErrFolder, 3, "correct the files, mount the whole folder of steps so that the program's user can read it, or unset MIGRATIONS_DIR, and start again"},
		{migrator.ErrTarget, 3, "correct MIGRATE_TARGET or MIGRATE_ACTION and start again"},
		{postgres.ErrParameter, 3, "correct PGOPTIONS, PGTZ, PGCLIENTENCODING or the parameters of DATABASE_URL; a pooler takes few of them: set what the role needs with ALTER ROLE"},
		{postgres.ErrRefused, 5, "check user, password, database and TLS; to migrate, the role must own PEPhub's tables and may CREATE in their schema, to look it needs SELECT on them"},
		{migrator.ErrPending, 10, "run MIGRATE_ACTION=up, or wait for whoever does"},
		{postgres.ErrBusy, 11, "start again when the other session is done"},
		{postgres.ErrUnreachable, 4, "check that the server runs, that POSTGRES_HOST leads to it, and PGSSLMODE, then start again"},
		{migrator.ErrEmpty, 6, "give PEPhub's database as POSTGRES_DB, mount the volume that holds it, or let it be filled: MIGRATE_EMPTY=create"},
		{migrator.ErrUnrecognised, 6, "check that this is PEPhub's database; the lines above name what differs"},
		{migrator.ErrPlanted, 6, "connect as the role that owns the tables, or have dropped what the lines above name"},
		{migrator.ErrAttached, 7, "do what the lines above say, start again, and make it anew where it belongs"},
		{migrator.ErrNewer, 9, "use an image that is as new as the database"},
		{migrator.ErrResult, 8, "the database is as it was; report this with the lines above"},
		{migrator.ErrStep, 7, "the database is as it was; the message says what stood in the way"},
	}
}

// conclude logs the last line, leaves it for Kubernetes, and returns the exit code.
func conclude(ctx context.Context, log *slog.Logger, outcome migrator.Outcome, err error) int {
	if err == nil {
		message := success(outcome)
		level := slog.LevelInfo
		if outcome.Newer > 0 || outcome.WasEmpty() {
			level = slog.LevelWarn
		}
		if outcome.Changed {
			log = log.With("rows", outcome.Rows)
		}
		log.Log(ctx, level, message)
		leaveTerminationMessage(message)
		return 0
	}
	end := ending{code: 1, hint: "this should not happen; report it with the lines above"}
	for _, candidate := range endings() {
		if errors.Is(err, candidate.class) {
			end = candidate
			break
		}
	}
	if cause := (interruption{}); errors.As(context.Cause(ctx), &cause) {
		err, end = cause, ending{code: 128 + int(cause.signal), hint: "start again; what was not committed is rolled back"}
	}
	var shape *migrator.ShapeError
	if errors.As(err, &shape) {
		for _, difference := range shape.Differences {
			log.Error("differs", "step", shape.Nearest.Number, "object", difference.String())
		}
	}
	var obstacles *migrator.ObstacleError
	if errors.As(err, &obstacles) {
		for _, obstacle := range obstacles.Obstacles {
			log.Error("stands in the way", "object", obstacle.Object, "remedy", obstacle.Remedy)
		}
	}
	message := strings.Join(strings.Fields(err.Error()), " ")
	log.Error(message, "hint", end.hint, "exit_code", end.code)
	leaveTerminationMessage(message + "; " + end.hint)
	return end.code
}

// success says in a sentence what has become of the database.
func success(outcome migrator.Outcome) string {
	from := fmt.Sprintf("step %d (%s)", outcome.From.Number, outcome.From.Release)
	to := fmt.Sprintf("step %d", outcome.To.Number)
	switch {
	case outcome.Newer > 0:
		return fmt.Sprintf("the database is at step %d, which is newer than this image and fine for its application, nothing to do", outcome.Newer)
	case outcome.Plan != "":
		return "the plan is on standard output, nothing was done"
	case !outcome.Changed:
		return fmt.Sprintf("the database is at %s, nothing to do", to)
	case outcome.From.Number == outcome.To.Number && outcome.Indexes > 0:
		return fmt.Sprintf("the database was at %s already, now it has the %d indexes that were missing", to, outcome.Indexes)
	case outcome.From.Number == outcome.To.Number:
		return fmt.Sprintf("the database was at %s already, now it is on record", to)
	case outcome.WasEmpty():
		return fmt.Sprintf("the empty database is now at %s; if it was to hold data, POSTGRES_DB or the volume is not the right one", to)
	}
	return fmt.Sprintf("the database went from %s to %s", from, to)
}

// leaveTerminationMessage writes to the file that Kubernetes shows as the reason of a container's end, if it is there.
// Its kubelet takes 4,096 bytes at the most.
func leaveTerminationMessage(message string) {
	file, err := os.OpenFile(config.TerminationLog(), os.O_WRONLY|os.O_TRUNC|syscall.O_NONBLOCK, 0)
	if err != nil {
		return // nobody is waiting for it
	}
	defer file.Close()
	fmt.Fprint(file, strings.ToValidUTF8(message[:min(len(message), 4096)], ""))
}

// interruption is why a context was cancelled: by a signal.
type interruption struct{ signal syscall.Signal }

func (i interruption) Error() string {
	name := map[syscall.Signal]string{syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM"}[i.signal]
	return "interrupted by " + name
}

// interruptible returns a context that SIGINT and SIGTERM cancel. A second signal kills as usual, and so does one before the
// runtime has started to listen, which takes it a thread of its own: nobody waits for that.
func interruptible(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
		received := <-signals
		signal.Stop(signals)
		if number, ok := received.(syscall.Signal); ok {
			cancel(interruption{number})
		}
	}()
	return ctx
}

// newLogger writes to standard error; standard output is for results. A duration reads 61ms in either format.
func newLogger() *slog.Logger {
	options := &slog.HandlerOptions{ReplaceAttr: func(_ []string, attr slog.Attr) slog.Attr {
		if attr.Value.Kind() == slog.KindDuration {
			attr.Value = slog.StringValue(attr.Value.Duration().String())
		}
		return attr
	}}
	if config.JSONLogs() {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// version is the tag or the commit that the binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
