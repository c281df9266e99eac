package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/migrator"
	"pephub-migrate/internal/postgres"
)

// errOutput means that there was no place for what the program was to say.
var errOutput = errors.New("the plan cannot be written to standard output")

// exit is one way for the program to end: the exit code, and what its caller can do.
type exit struct {
	class error
	code  int
	hint  string
}

// exitCodes returns the exit codes in the order in which an error is held against them: a
// step that failed for want of a privilege is first of all a refusal.
func exitCodes() []exit {
	return []exit{
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

// report logs the last line, leaves it for Kubernetes, and returns the exit code.
func report(ctx context.Context, log *slog.Logger, outcome migrator.Outcome, err error) int {
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
	end := exit{code: 1, hint: "this should not happen; report it with the lines above"}
	for _, candidate := range exitCodes() {
		if errors.Is(err, candidate.class) {
			end = candidate
			break
		}
	}
	if cause := (interruption{}); errors.As(context.Cause(ctx), &cause) {
		err, end = cause, exit{code: cause.exitCode(), hint: "start again; what was not committed is rolled back"}
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

// leaveTerminationMessage writes to the file that Kubernetes shows as the reason of a
// container's end, if it is there. Its kubelet takes 4,096 bytes at the most.
func leaveTerminationMessage(message string) {
	file, err := os.OpenFile(config.TerminationLog(), os.O_WRONLY|os.O_TRUNC|syscall.O_NONBLOCK, 0)
	if err != nil {
		return // nobody is waiting for it
	}
	defer file.Close()
	fmt.Fprint(file, strings.ToValidUTF8(message[:min(len(message), 4096)], ""))
}
