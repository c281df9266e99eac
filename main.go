// Pephub-migrate brings a PEPhub database to the newest schema: it waits until PostgreSQL
// answers, recognises what is there, and upgrades it in one transaction. Its environment
// is described in package config, its exit codes below.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
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
		os.Exit(report(context.Background(), log, migrator.Outcome{}, err))
	}
	if answer != "" {
		fmt.Println(answer)
		return
	}
	ctx := interruptible(context.Background())
	start := time.Now()
	outcome, err := run(ctx, log)
	os.Exit(report(ctx, log.With("duration", time.Since(start).Round(time.Millisecond)), outcome, err))
}

// run is the whole line: environment, steps, server, one transaction.
func run(ctx context.Context, log *slog.Logger) (outcome migrator.Outcome, err error) {
	cfg, err := config.FromEnv()
	for _, warning := range cfg.Warnings {
		log.Warn(warning)
	}
	if err != nil {
		return outcome, err
	}
	log.Info("starting", "version", version(), "action", cfg.Action)
	if len(cfg.Ignored) > 0 {
		log.Info("these variables of libpq's have no effect here", "variables", strings.Join(cfg.Ignored, " "))
	}
	m, err := migrator.New(migrations.FS, cfg, log)
	if err != nil {
		return outcome, err
	}
	server := postgres.New(cfg.Server, cfg.WaitTimeout, log)
	err = server.Do(ctx, func(ctx context.Context, conn *pgconn.PgConn) (progress bool, err error) {
		outcome, err = m.Attempt(ctx, conn)
		return outcome.Progress, err
	})
	if err != nil {
		return outcome, err
	}
	if _, err := os.Stdout.WriteString(outcome.Plan); err != nil {
		return outcome, fmt.Errorf("%w: %w", errOutput, err)
	}
	return outcome, nil
}

// interruption is why a context was cancelled: by a signal.
type interruption struct{ signal os.Signal }

func (i interruption) Error() string {
	name := map[os.Signal]string{syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM"}[i.signal]
	return "interrupted by " + name
}

// exitCode is the shell's convention for a program that a signal has ended.
func (i interruption) exitCode() int {
	number, _ := i.signal.(syscall.Signal)
	return 128 + int(number)
}

// interruptible returns a context that SIGINT and SIGTERM cancel. A second signal kills
// as usual.
func interruptible(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		received := <-signals
		signal.Stop(signals)
		cancel(interruption{received})
	}()
	return ctx
}

// newLogger writes to standard error; standard output is for results. A duration reads
// 61ms in either format.
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
