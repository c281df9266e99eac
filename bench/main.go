// Bench measures pephub-migrate against the least that a server can do, and against other
// migration tools, side by side on one PostgreSQL, and keeps what it measured in
// RESULTS.md.
//
// Its arguments name the sections to measure, all of them by default. The environment has
// the rest:
//
//	BENCH_SAMPLES     how many samples the databases hold that are upgraded, default "10000 100000 1000000"
//	BENCH_STEPS       the steps at which they begin, by default every one that there is
//	POSTGRES_VERSION  the major version of the server, default 17
//
// A section that is measured takes the place of the last one by its name; but "step",
// which times the newest step and its locks at a million samples and is only printed. Of
// other tools those take part that are on the PATH:
//
//	apt-get install postgresql-client alembic python3-psycopg2
//	go install -tags postgres github.com/golang-migrate/migrate/v4/cmd/migrate@v4.20.1
//	go install github.com/pressly/goose/v3/cmd/goose@latest
//	go install github.com/jackc/tern/v2@latest
//	go install github.com/amacneil/dbmate/v2@latest
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// section is one part of the results.
type section struct {
	name    string
	title   string
	measure func(context.Context, *bench) (string, error)
	asked   bool // whether it is measured only when it is asked for by name, and printed, not kept
}

func sections() []section {
	return []section{
		{"noop", "Nothing to do", measureNoop, false},
		{"empty", "Empty to newest", measureEmpty, false},
		{"trips", "Protocol round trips", measureTrips, false},
		{"crowd", "A hundred starts at once", measureCrowd, false},
		{"lag", "From \"accepts connections\" to exit 0", measureLag, false},
		{"size", "Size", measureSize, false},
		{"steps", "Each step that moves data, against its floor", measureSteps, false},
		{"upgrades", "From every release to the newest", measureUpgrades, false},
		{"reads", "PEPhub's own statements, before and after", measureReads, false},
		{"step", "One step, and its locks", measureStep, true},
	}
}

// bench is what the sections share.
type bench struct {
	server     *server
	contenders []contender
	commit     string // what is measured
	binary     string // the program
	floor      string // the least program
}

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		stop()
		log.Fatal(err)
	}
}

func run(ctx context.Context, names []string) error {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{commit: "an unknown commit", binary: filepath.Join(dir, "pephub-migrate"), floor: filepath.Join(dir, "floor")}
	if output, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
		b.commit = strings.TrimSpace(string(output))
	}
	for path, source := range map[string]string{b.binary: ".", b.floor: "./bench/floor"} {
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s from the top of the repository: %w\n%s", source, err, output)
		}
	}
	if slices.ContainsFunc(chosen, func(s section) bool { return !s.asked }) { // which has no part for them
		if b.contenders, err = findContenders(b, dir); err != nil {
			return err
		}
	}
	var stop func()
	if b.server, stop, err = startServer(ctx); err != nil {
		return err
	}
	defer stop()
	for _, section := range chosen {
		start := time.Now()
		body, err := section.measure(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
		text := fmt.Sprintf("## %s\n\n%s\n%s\n", section.title, strings.TrimRight(body, "\n"), b.provenance(section, start))
		fmt.Print(text, "\n")
		if section.asked {
			continue
		}
		if err := keep("bench/RESULTS.md", text); err != nil {
			return err
		}
	}
	return nil
}

func choose(names []string) ([]section, error) {
	all := sections()
	if len(names) == 0 {
		return slices.DeleteFunc(all, func(s section) bool { return s.asked }), nil
	}
	var chosen []section
	for _, name := range names {
		i := slices.IndexFunc(all, func(s section) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no section %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// provenance says where and when a section was measured, and how it can be again.
func (b *bench) provenance(s section, start time.Time) string {
	settings := ""
	for _, name := range []string{"BENCH_SAMPLES", "BENCH_STEPS"} {
		if value := os.Getenv(name); value != "" {
			settings += fmt.Sprintf("%s=%q ", name, value)
		}
	}
	return fmt.Sprintf("\n<sub>`%sgo run ./bench %s` at %s, %s, PostgreSQL %s, %d cores, %s</sub>\n",
		settings, s.name, b.commit, start.UTC().Format(time.DateOnly), b.server.version, runtime.NumCPU(), time.Since(start).Round(time.Second))
}

const heading = "# Results\n\nMeasured by the program in this folder, each section by the command below it. Times differ from machine to\nmachine; what counts is the ratio to the floor, which was measured in the same run, in turns.\n\n"

// keep puts a section in its place among the results.
func keep(path, text string) error {
	content, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	have := map[string]string{}
	for _, part := range strings.Split(string(content), "\n## ")[1:] {
		title, _, _ := strings.Cut(part, "\n")
		have["## "+title] = "## " + strings.TrimRight(part, "\n") + "\n"
	}
	title, _, _ := strings.Cut(text, "\n")
	have[title] = strings.TrimRight(text, "\n") + "\n"
	var parts []string
	for _, section := range sections() {
		if part, ok := have["## "+section.title]; ok {
			parts = append(parts, part)
		}
	}
	return os.WriteFile(path, []byte(heading+strings.Join(parts, "\n")), 0o644)
}
