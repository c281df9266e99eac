package main

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed data
var data embed.FS

// readData returns a file of the folder data, with the values in place of their names in
// double braces.
func readData(file string, values map[string]string) (string, error) {
	content, err := data.ReadFile("data/" + file)
	text := string(content)
	for name, value := range values {
		text = strings.ReplaceAll(text, "{{"+name+"}}", value)
	}
	return text, err
}

const samplesPerProject = 100

// numbers reads a list from the environment.
func numbers(variable, otherwise string) ([]int, error) {
	value := os.Getenv(variable)
	if value == "" {
		value = otherwise
	}
	var list []int
	for field := range strings.FieldsSeq(value) {
		number, err := strconv.Atoi(field)
		if err != nil || number < 1 {
			return nil, fmt.Errorf("%s: %q is not a number from 1", variable, field)
		}
		list = append(list, number)
	}
	return list, nil
}

// chain visits a database of that many samples at every step in turn. What holds the
// samples at a step is as a release has it that made that step: the documents of 0.1,
// those of 0.4.3, and the tables from 0.5 on.
func (b *bench) chain(ctx context.Context, samples, last int, visit func(step int, database string) error) error {
	const database = "bench_chain"
	defer b.server.drop(context.WithoutCancel(ctx), database)
	fills := map[int]string{1: "documents-1.sql", 6: "documents-6.sql", 7: "samples-7.sql"}
	for step := 1; step <= last; step++ {
		if fills[step] != "" {
			if err := b.server.create(ctx, database, ""); err != nil {
				return err
			}
		}
		if _, err := b.upgrade(ctx, database, step); err != nil {
			return err
		}
		if file := fills[step]; file != "" {
			if err := b.fill(ctx, database, file, samples); err != nil {
				return err
			}
		}
		if err := visit(step, database); err != nil {
			return fmt.Errorf("from step %d: %w", step, err)
		}
	}
	return nil
}

func (b *bench) fill(ctx context.Context, database, file string, samples int) error {
	sql, err := readData(file, map[string]string{"projects": strconv.Itoa(max(1, samples/samplesPerProject))})
	if err != nil {
		return err
	}
	// VACUUM runs in no transaction, which several statements in one message are.
	for statement := range strings.SplitSeq(sql, ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if _, err := b.server.run(ctx, database, statement); err != nil {
			return err
		}
	}
	return nil
}

// upgraded is what one run of the program cost.
type upgraded struct {
	took  time.Duration
	wal   int64                 // bytes
	disk  int64                 // the most that the database had on disk at once, in bytes
	steps map[int]time.Duration // of each step, as the log says
}

// upgrade takes a database to a step, or to the newest if that is 0.
func (b *bench) upgrade(ctx context.Context, database string, target int) (upgraded, error) {
	command := b.migrate(ctx, b.server.address, database)
	command.Env = append(command.Env, "LOG_FORMAT=json")
	if target > 0 {
		command.Env = append(command.Env, "MIGRATE_TARGET="+strconv.Itoa(target))
	}
	var log strings.Builder
	command.Stderr = &log
	return b.cost(ctx, database, func() error {
		if err := command.Run(); err != nil {
			return fmt.Errorf("%w\n%s", err, log.String())
		}
		return nil
	}, func(run *upgraded) error {
		for line := range strings.Lines(log.String()) {
			var entry struct {
				Message  string `json:"msg"`
				Step     int
				Duration string
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				return fmt.Errorf("%w: %s", err, line)
			}
			if entry.Message == "migrated" {
				duration, err := time.ParseDuration(entry.Duration)
				if err != nil {
					return err
				}
				run.steps[entry.Step] = duration
			}
		}
		return nil
	})
}

// cost takes the measure of something that is done to a database.
func (b *bench) cost(ctx context.Context, database string, do func() error, after func(*upgraded) error) (upgraded, error) {
	run := upgraded{steps: map[int]time.Duration{}}
	if err := execute(ctx, b.server.admin, "CHECKPOINT"); err != nil { // what was written before is not to be paid for now
		return run, err
	}
	before, err := b.walPosition(ctx)
	if err != nil {
		return run, err
	}
	stop := b.watchDisk(ctx, database)
	start := time.Now()
	err = do()
	run.took = time.Since(start)
	run.disk = stop()
	if err != nil {
		return run, err
	}
	end, err := b.walPosition(ctx)
	if err != nil {
		return run, err
	}
	run.wal = end - before
	return run, after(&run)
}

func (b *bench) walPosition(ctx context.Context) (int64, error) {
	return b.server.number(ctx, "postgres", "SELECT pg_current_wal_lsn() - '0/0'")
}

// size is what a database has on disk, in bytes.
func (b *bench) size(ctx context.Context, database string) (int64, error) {
	return b.server.number(ctx, "postgres", "SELECT pg_database_size('"+database+"')")
}

// watchDisk looks at the size of a database, from its files, several times a second until
// it is told to stop.
func (b *bench) watchDisk(ctx context.Context, database string) (stop func() int64) {
	ctx, cancel := context.WithCancel(ctx)
	peak := make(chan int64, 1)
	go func() {
		var most int64
		for {
			if size, err := b.size(ctx, database); err == nil {
				most = max(most, size)
			}
			select {
			case <-ctx.Done():
				peak <- most
				return
			case <-time.After(250 * time.Millisecond):
			}
		}
	}()
	return func() int64 { cancel(); return <-peak }
}

// floors are the steps that write samples or documents.
func floors() map[int]string {
	return map[int]string{5: "floor-5.sql", 7: "floor-7.sql", 8: "floor-8.sql", 10: "floor-10.sql", 15: "floor-15.sql"}
}

func measureSteps(ctx context.Context, b *bench) (string, error) {
	rows, err := b.rows(ctx, "5 7 8 10 15", 1, b.againstFloor)
	return `The floor is the least that the server can do: "CREATE TABLE ... AS" of the final tables, their indexes and constraints, commit.
The program's time is that of a whole run to the step. Size is that of the tables written and their indexes, against the floor's.

| step | samples | floor | pephub-migrate | ratio | WAL | ratio | size ratio |
|---|---|---|---|---|---|---|---|
` + rows, err
}

func measureUpgrades(ctx context.Context, b *bench) (string, error) {
	rows, err := b.rows(ctx, "1 2 3 4 5 6 7 8 9 10 11 12 13 14", 0, b.toNewest)
	return `A database as the releases of a step make it, to the newest step; whole runs of the program. Disk is the most that the
database had at once, and what it has afterwards, against what it had before; the longest steps are given in seconds.

| from step | samples | time | us/sample | WAL | disk | longest steps |
|---|---|---|---|---|---|---|
` + rows, err
}

// rows returns a line of a table for each size and each step that is wanted, measured on
// a database that is so many steps behind.
func (b *bench) rows(
	ctx context.Context, steps string, behind int, row func(ctx context.Context, step, samples int, template string) (string, error),
) (string, error) {
	sizes, err := numbers("BENCH_SAMPLES", "10000 100000 1000000")
	if err != nil {
		return "", err
	}
	wanted, err := numbers("BENCH_STEPS", steps)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, samples := range sizes {
		err := b.chain(ctx, samples, slices.Max(wanted)-behind, func(at int, database string) error {
			if !slices.Contains(wanted, at+behind) {
				return nil
			}
			line, err := row(ctx, at+behind, samples, database)
			text.WriteString(line)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return text.String(), nil
}

// againstFloor takes turns, more of them where they are short, and returns a line of the
// table.
func (b *bench) againstFloor(ctx context.Context, step, samples int, template string) (string, error) {
	if floors()[step] == "" {
		return "", nil
	}
	floor, err := readData(floors()[step], nil)
	if err != nil {
		return "", err
	}
	turns := 3
	if samples > 1_000_000 {
		turns = 1
	}
	var times [2][]time.Duration
	var ratios, wal []float64
	var written, sizeRatio float64
	for range turns {
		one, sizes, err := b.turn(ctx, step, template, floor)
		if err != nil {
			return "", err
		}
		for i, run := range one {
			times[i] = append(times[i], run.took)
		}
		ratios = append(ratios, float64(one[1].took)/float64(one[0].took))
		wal = append(wal, float64(one[1].wal)/float64(one[0].wal))
		written = float64(one[1].wal)
		sizeRatio = float64(sizes[1]) / float64(sizes[0])
	}
	return fmt.Sprintf("| %d | %d | %s | %s | %.2f | %s | %.2f | %.2f |\n", step, samples, short(quantile(times[0], 0.5)), short(quantile(times[1], 0.5)),
		quantile(ratios, 0.5), megabytes(int64(written)), quantile(wal, 0.5), sizeRatio), nil
}

// turn measures the floor and the program once, each on a copy of its own.
func (b *bench) turn(ctx context.Context, step int, template, floor string) (runs [2]upgraded, sizes [2]int64, err error) {
	const database = "bench_turn"
	defer b.server.drop(context.WithoutCancel(ctx), database)
	for i, prefix := range []string{"floor_", ""} {
		if err := b.server.create(ctx, database, template); err != nil {
			return runs, sizes, err
		}
		if prefix == "" {
			runs[i], err = b.upgrade(ctx, database, step)
		} else {
			runs[i], err = b.cost(ctx, database, func() error {
				_, err := b.server.run(ctx, database, "BEGIN;"+floor+"COMMIT")
				return err
			}, func(*upgraded) error { return nil })
		}
		if err != nil {
			return runs, sizes, err
		}
		if sizes[i], err = b.tablesSize(ctx, database, step, prefix); err != nil {
			return runs, sizes, err
		}
	}
	return runs, sizes, nil
}

// tablesSize is the size, in bytes, of those tables that a floor makes, by those names or
// by PEPhub's.
func (b *bench) tablesSize(ctx context.Context, database string, step int, prefix string) (int64, error) {
	tables := map[int][]string{5: {"projects"}, 7: {"projects", "samples"}, 8: {"samples"}, 10: {"samples"}, 15: {"samples"}}[step]
	if step == 15 {
		prefix = "" // its floor adds indexes to the tables themselves
	}
	var terms []string
	for _, table := range tables {
		terms = append(terms, "pg_total_relation_size('"+prefix+table+"')")
	}
	return b.server.number(ctx, database, "SELECT "+strings.Join(terms, " + "))
}

func (b *bench) toNewest(ctx context.Context, step, samples int, template string) (string, error) {
	const database = "bench_upgrade"
	defer b.server.drop(context.WithoutCancel(ctx), database)
	if err := b.server.create(ctx, database, template); err != nil {
		return "", err
	}
	before, err := b.size(ctx, database)
	if err != nil {
		return "", err
	}
	run, err := b.upgrade(ctx, database, 0)
	if err != nil {
		return "", err
	}
	after, err := b.size(ctx, database)
	if err != nil {
		return "", err
	}
	var longest []string
	for _, number := range slices.Sorted(maps.Keys(run.steps)) {
		if took := run.steps[number]; took > run.took/20 {
			longest = append(longest, fmt.Sprintf("%d: %.1f", number, took.Seconds()))
		}
	}
	return fmt.Sprintf("| %d | %d | %s | %.1f | %s | %.1f x, %.1f x | %s |\n", step, samples, short(run.took),
		float64(run.took.Microseconds())/float64(samples), megabytes(run.wal), float64(max(run.disk, after))/float64(before), float64(after)/float64(before), strings.Join(longest, ", ")), nil
}
