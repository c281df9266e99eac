package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/migrator"
	"pephub-migrate/internal/postgres"
	"pephub-migrate/internal/schema"
)

func TestExitCodes(t *testing.T) {
	interrupted, cancel := context.WithCancelCause(context.Background())
	cancel(interruption{syscall.SIGTERM})
	background := context.Background()
	for name, test := range map[string]struct {
		ctx  context.Context
		err  error
		want int
	}{
		"done":                        {background, nil, 0},
		"done when the signal came":   {interrupted, nil, 0},
		"a bug":                       {background, errors.New("x"), 1},
		"configuration":               {background, config.ErrInvalid, 3},
		"folder of steps":             {background, fmt.Errorf("%w: x", migrator.ErrFolder), 3},
		"parameter of the connection": {background, postgres.ErrParameter, 3},
		"empty":                       {background, migrator.ErrEmpty, 6},
		"target":                      {background, migrator.ErrTarget, 3},
		"unreachable":                 {background, postgres.ErrUnreachable, 4},
		"refused":                     {background, postgres.ErrRefused, 5},
		"refused within a step":       {background, fmt.Errorf("%w: %w", postgres.ErrRefused, &migrator.StepError{Err: errors.New("x")}), 5},
		"unrecognised":                {background, &migrator.ShapeError{Class: migrator.ErrUnrecognised}, 6},
		"step":                        {background, &migrator.StepError{Err: errors.New("x")}, 7},
		"result":                      {background, &migrator.ShapeError{Class: migrator.ErrResult}, 8},
		"newer":                       {background, migrator.ErrNewer, 9},
		"pending":                     {background, fmt.Errorf("%w: x", migrator.ErrPending), 10},
		"pending for too long":        {background, fmt.Errorf("x: %w", postgres.Again{Err: migrator.ErrPending}), 10},
		"busy":                        {background, postgres.ErrBusy, 11},
		"step that could not lock":    {background, fmt.Errorf("%w: %w", postgres.ErrBusy, &migrator.StepError{Err: errors.New("x")}), 11},
		"interrupted":                 {interrupted, context.Canceled, 143},
		"interrupted by the keyboard": {cancelled(syscall.SIGINT), errors.New("x"), 130},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TERMINATION_LOG", filepath.Join(t.TempDir(), "none"))
			log := slog.New(slog.NewTextHandler(&bytes.Buffer{}, nil))
			if got := report(test.ctx, log, migrator.Outcome{}, test.err); got != test.want {
				t.Errorf("exit code %d, want %d", got, test.want)
			}
		})
	}
}

func cancelled(signal syscall.Signal) context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(interruption{signal})
	return ctx
}

func TestLastWords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "termination-log")
	if err := os.WriteFile(file, []byte("older and longer than what comes"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TERMINATION_LOG", file)
	var output bytes.Buffer
	log := slog.New(slog.NewTextHandler(&output, nil))

	err := &migrator.ShapeError{
		Class:       migrator.ErrUnrecognised,
		Nearest:     migrator.Step{Number: 13, Release: "pepdbagent 0.11.1"},
		Differences: []schema.Difference{{Object: "column users.id", Have: "text", Want: "integer"}},
	}
	report(context.Background(), log, migrator.Outcome{}, err)
	if !strings.Contains(output.String(), `object="column users.id is \"text\", expected \"integer\""`) {
		t.Errorf("the log does not name the object:\n%s", &output)
	}
	if got := read(t, file); !strings.Contains(got, "1 object differs from step 13 (pepdbagent 0.11.1); check that") {
		t.Errorf("left %q", got)
	}

	report(context.Background(), log, migrator.Outcome{}, errors.New(strings.Repeat("a\nb", 4096)))
	if got := read(t, file); len(got) != 4096 || strings.Contains(got, "\n") {
		t.Errorf("left %d bytes", len(got))
	}

	report(context.Background(), log, migrator.Outcome{To: migrator.Step{Number: 15}}, nil)
	if got := read(t, file); got != "the database is at step 15, nothing to do" {
		t.Errorf("left %q", got)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestSuccess(t *testing.T) {
	first := migrator.Step{Number: 13, Release: "pepdbagent 0.11.1"}
	last := migrator.Step{Number: 15}
	for want, outcome := range map[string]migrator.Outcome{
		"the database is at step 15, nothing to do":                                                                    {From: last, To: last},
		"the database was at step 15 already, now it is on record":                                                     {From: last, To: last, Changed: true},
		"the empty database is now at step 15; if it was to hold data, POSTGRES_DB or the volume is not the right one": {To: last, Changed: true},
		"the plan is on standard output, nothing was done":                                                             {From: first, To: last, Plan: "-- x"},
		"the database went from step 13 (pepdbagent 0.11.1) to step 15":                                                {From: first, To: last, Changed: true},
	} {
		if got := success(outcome); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
