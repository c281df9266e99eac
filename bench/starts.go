package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	rounds      = 100 // of starts that find nothing to do
	emptyRounds = 15
	slowRounds  = 5
	crowd       = 100
)

// runner is something whose time is taken.
type runner struct {
	name string
	run  func() (time.Duration, error)
}

// takeTurns measures all runners once in every round, after one that does not count, each
// round in another order.
func takeTurns(runners []runner, rounds int) ([]series, error) {
	all := make([]series, len(runners))
	for round := range rounds + 1 {
		for _, i := range rand.Perm(len(runners)) {
			took, err := runners[i].run()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", runners[i].name, err)
			}
			all[i].name = runners[i].name
			if round > 0 {
				all[i].times = append(all[i].times, took)
			}
		}
	}
	return all, nil
}

// upToDate makes a database for each contender, and brings it up to date by it.
func (b *bench) upToDate(ctx context.Context) (databases []string, drop func(), err error) {
	drop = func() {
		for _, database := range databases {
			b.server.drop(context.WithoutCancel(ctx), database)
		}
	}
	for i, contender := range b.contenders {
		database := fmt.Sprint("bench_current_", i)
		databases = append(databases, database)
		if err := b.createCurrent(ctx, database, contender.command); err != nil {
			return databases, drop, err
		}
	}
	return databases, drop, nil
}

// createCurrent makes a database and has it brought up to date.
func (b *bench) createCurrent(ctx context.Context, database string, command func(ctx context.Context, address, database string) *exec.Cmd) error {
	if err := b.server.create(ctx, database, ""); err != nil {
		return err
	}
	_, err := timed(command(ctx, b.server.address, database))
	return err
}

// isPsql knows the contender that does not know what is there, and can only do
// everything.
func isPsql(c contender) bool { return strings.HasPrefix(c.name, "psql") }

func (b *bench) floorCommand(ctx context.Context, address, database string) *exec.Cmd {
	return exec.CommandContext(ctx, b.floor, url(address, database))
}

func measureNoop(ctx context.Context, b *bench) (string, error) {
	databases, drop, err := b.upToDate(ctx)
	defer drop()
	if err != nil {
		return "", err
	}
	runners := []runner{{"floor: connect, `SELECT 1`, close", func() (time.Duration, error) {
		return timed(b.floorCommand(ctx, b.server.address, databases[0]))
	}}}
	for i, contender := range b.contenders {
		if isPsql(contender) {
			runners = append(runners, runner{"psql -c `SELECT 1`", func() (time.Duration, error) {
				return timed(exec.CommandContext(ctx, "psql", "-X", "-c", "SELECT 1", url(b.server.address, databases[0])))
			}})
			continue
		}
		runners = append(runners, runner{contender.name, func() (time.Duration, error) {
			return timed(contender.command(ctx, b.server.address, databases[i]))
		}})
	}
	all, err := takeTurns(runners, rounds)
	if err != nil {
		return "", err
	}
	crowded, err := measureNeighbours(ctx, b)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("A database that is up to date, %d rounds. Whole processes, from start to exit; of all that are here, only pephub-migrate\nlooks at more than a version number.\n\n%s\n%s",
		rounds, table(all), crowded), nil
}

// measureNeighbours holds a database with many tables, partitions and schemas of others
// against one without.
func measureNeighbours(ctx context.Context, b *bench) (string, error) {
	const lonely, crowded = "bench_lonely", "bench_crowded"
	for _, database := range []string{lonely, crowded} {
		defer b.server.drop(context.WithoutCancel(ctx), database)
		if err := b.createCurrent(ctx, database, b.migrate); err != nil {
			return "", err
		}
	}
	// In pieces, since each takes locks until its end.
	for i := range 20 {
		if _, err := b.server.run(ctx, crowded, fmt.Sprintf(`DO $$
			BEGIN
				CREATE TABLE partitioned_%[1]d (id integer NOT NULL, at date NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (id);
				FOR i IN 1..100 LOOP
					EXECUTE format('CREATE TABLE partition_%[1]d_%%s PARTITION OF partitioned_%[1]d FOR VALUES FROM (%%s) TO (%%s)', i, i, i + 1);
					EXECUTE format('CREATE TABLE table_%[1]d_%%s (id serial PRIMARY KEY, other integer REFERENCES projects, name text UNIQUE)', i);
					EXECUTE format('CREATE SCHEMA schema_%[1]d_%%s', i);
					EXECUTE format('CREATE TABLE schema_%[1]d_%%s.projects (id serial PRIMARY KEY, name text NOT NULL)', i);
				END LOOP;
			END
			$$`, i)); err != nil {
			return "", err
		}
	}
	if _, err := b.server.run(ctx, crowded, "VACUUM ANALYZE"); err != nil {
		return "", err
	}
	all, err := takeTurns([]runner{
		{"PEPhub's tables alone", func() (time.Duration, error) { return timed(b.migrate(ctx, b.server.address, lonely)) }},
		{"the floor there", func() (time.Duration, error) { return timed(b.floorCommand(ctx, b.server.address, lonely)) }},
		{"beside 2,000 tables that refer to them, 2,000 partitions, 2,000 schemas", func() (time.Duration, error) {
			return timed(b.migrate(ctx, b.server.address, crowded))
		}},
		{"the floor there", func() (time.Duration, error) { return timed(b.floorCommand(ctx, b.server.address, crowded)) }},
	}, rounds/2)
	if err != nil {
		return "", err
	}
	return "In a database that is not PEPhub's alone:\n\n" + table(all), nil
}

func measureEmpty(ctx context.Context, b *bench) (string, error) {
	slow, err := startProxy(b.server.address, time.Millisecond)
	if err != nil {
		return "", err
	}
	defer slow.stop()
	near, err := b.fromEmpty(ctx, b.server.address, emptyRounds)
	if err != nil {
		return "", err
	}
	far, err := b.fromEmpty(ctx, slow.address(), slowRounds)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("A new database and the same SQL for everybody, %d rounds. Whole processes; the ratio is to this program.\n\n%s\nWith 2 ms more for each round trip, %d rounds:\n\n%s",
		emptyRounds, near, slowRounds, far), nil
}

func (b *bench) fromEmpty(ctx context.Context, address string, rounds int) (string, error) {
	const database = "bench_empty"
	defer b.server.drop(context.WithoutCancel(ctx), database)
	var runners []runner
	for _, contender := range b.contenders {
		runners = append(runners, runner{contender.name, func() (time.Duration, error) {
			if err := b.server.create(ctx, database, ""); err != nil {
				return 0, err
			}
			return timed(contender.command(ctx, address, database))
		}})
	}
	all, err := takeTurns(runners, rounds)
	return table(all), err
}

func measureTrips(ctx context.Context, b *bench) (string, error) {
	counting, err := startProxy(b.server.address, 0)
	if err != nil {
		return "", err
	}
	defer counting.stop()
	count := func(command *exec.Cmd) (int64, error) {
		before := counting.trips.Load()
		_, err := timed(command)
		return counting.trips.Load() - before, err
	}
	const database = "bench_trips"
	defer b.server.drop(context.WithoutCancel(ctx), database)
	var text strings.Builder
	text.WriteString("A question and its answer are one; login is three with SCRAM. All connections of a process are counted.\n\n| | empty to newest | nothing to do |\n|---|---|---|\n")
	for _, contender := range b.contenders {
		if err := b.server.create(ctx, database, ""); err != nil {
			return "", err
		}
		first, err := count(contender.command(ctx, counting.address(), database))
		if err != nil {
			return "", err
		}
		again := "-"
		if !isPsql(contender) {
			second, err := count(contender.command(ctx, counting.address(), database))
			if err != nil {
				return "", err
			}
			again = strconv.FormatInt(second, 10)
		}
		fmt.Fprintf(&text, "| %s | %d | %s |\n", contender.name, first, again)
	}
	least, err := count(b.floorCommand(ctx, counting.address(), database))
	fmt.Fprintf(&text, "| floor | | %d |\n", least)
	return text.String(), err
}

func measureCrowd(ctx context.Context, b *bench) (string, error) {
	const database = "bench_crowd"
	defer b.server.drop(context.WithoutCancel(ctx), database)
	var text strings.Builder
	fmt.Fprintf(&text, "%d processes on one empty database, and %d once more when it is up to date. The time is that until the last is done.\n\n| | empty | of them failed | up to date | of them failed |\n|---|---|---|---|---|\n", crowd, crowd)
	for _, contender := range b.contenders {
		if isPsql(contender) {
			continue
		}
		if err := b.server.create(ctx, database, ""); err != nil {
			return "", err
		}
		empty, failed := together(ctx, contender, b.server.address, database)
		again, failedAgain := together(ctx, contender, b.server.address, database)
		fmt.Fprintf(&text, "| %s | %s | %d | %s | %d |\n", contender.name, short(empty), failed, short(again), failedAgain)
	}
	return text.String(), ctx.Err()
}

// together starts a contender many times at once.
func together(ctx context.Context, c contender, address, database string) (took time.Duration, failed int) {
	start := time.Now()
	var all sync.WaitGroup
	errs := make(chan error, crowd)
	for range crowd {
		all.Go(func() {
			_, err := timed(c.command(ctx, address, database))
			errs <- err
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			failed++
		}
	}
	return time.Since(start), failed
}

func measureLag(ctx context.Context, b *bench) (string, error) {
	const database = "bench_lag"
	defer b.server.drop(context.WithoutCancel(ctx), database)
	if err := b.createCurrent(ctx, database, b.migrate); err != nil {
		return "", err
	}
	var lags []time.Duration
	for range rounds / 2 {
		lag, err := b.lag(ctx, database)
		if err != nil {
			return "", err
		}
		lags = append(lags, lag)
	}
	return fmt.Sprintf("The program waits for a server that refuses connections, for half a second to three, until it accepts them. The database is\nup to date. Of %d times: median %s, 90 %% within %s, worst %s.\n",
		len(lags), short(quantile(lags, 0.5)), short(quantile(lags, 0.9)), short(quantile(lags, 1))), nil
}

func (b *bench) lag(ctx context.Context, database string) (time.Duration, error) {
	reserved, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	address := reserved.Addr().String()
	reserved.Close() // from here on connections are refused
	command := b.migrate(ctx, address, database)
	var output bytes.Buffer
	command.Stderr = &output
	if err := command.Start(); err != nil {
		return 0, err
	}
	time.Sleep(500*time.Millisecond + rand.N(2500*time.Millisecond))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return 0, errors.Join(err, command.Process.Kill(), command.Wait())
	}
	up := time.Now()
	p := &proxy{server: b.server.address, listener: listener}
	p.all.Go(p.serve)
	defer p.stop()
	if err := command.Wait(); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, output.String())
	}
	return time.Since(up), nil
}

func measureSize(ctx context.Context, b *bench) (string, error) {
	const database = "bench_size"
	defer b.server.drop(context.WithoutCancel(ctx), database)
	if err := b.server.create(ctx, database, ""); err != nil {
		return "", err
	}
	empty, err := peakMemory(b.migrate(ctx, b.server.address, database))
	if err != nil {
		return "", err
	}
	noop, err := peakMemory(b.migrate(ctx, b.server.address, database))
	if err != nil {
		return "", err
	}
	least, err := peakMemory(b.floorCommand(ctx, b.server.address, database))
	if err != nil {
		return "", err
	}
	binary, err := os.Stat(b.binary)
	if err != nil {
		return "", err
	}
	image := "not built"
	if output, err := exec.CommandContext(ctx, "docker", "image", "inspect", "--format", "{{.Size}}", "pephub-migrate").Output(); err == nil {
		if size, err := strconv.ParseInt(strings.TrimSpace(string(output)), 10, 64); err == nil {
			image = megabytes(size)
		}
	}
	return fmt.Sprintf("| | |\n|---|---|\n| image | %s |\n| binary | %s |\n| peak resident memory, empty to newest | %s |\n| nothing to do | %s |\n| floor | %s |\n",
		image, megabytes(binary.Size()), mebibytes(empty), mebibytes(noop), mebibytes(least)), nil
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// mebibytes is for memory, whose limits are given so.
func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// peakMemory runs a command and returns the most memory that it has had resident, in
// bytes. It looks while the command runs: what the system says afterwards includes the
// memory of the process that started it.
func peakMemory(command *exec.Cmd) (int64, error) {
	if err := command.Start(); err != nil {
		return 0, err
	}
	status := fmt.Sprintf("/proc/%d/status", command.Process.Pid)
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	var peak int64
	for {
		select {
		case err := <-ended:
			return peak, err
		case <-time.After(time.Millisecond):
		}
		content, err := os.ReadFile(status)
		if err != nil {
			continue // it has just ended
		}
		_, rest, _ := strings.Cut(string(content), "VmHWM:")
		value, _, _ := strings.Cut(rest, "kB")
		if kilobytes, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
			peak = max(peak, kilobytes*1024)
		}
	}
}
