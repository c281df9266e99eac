package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pephub-migrate/migrations"
)

// contender is a program that can bring a database up to date.
type contender struct {
	name    string
	command func(ctx context.Context, address, database string) *exec.Cmd
}

// findContenders returns this program and, with the same SQL in the form of each, the
// other tools that are installed.
func findContenders(b *bench, dir string) ([]contender, error) {
	steps, err := readSteps()
	if err != nil {
		return nil, err
	}
	found := []contender{{"pephub-migrate", b.migrate}}
	for _, tool := range tools(dir) {
		if _, err := exec.LookPath(tool.program); err != nil {
			fmt.Fprintf(os.Stderr, "%s is not installed and left out\n", tool.program)
			continue
		}
		if err := tool.write(steps); err != nil {
			return nil, err
		}
		found = append(found, contender{tool.name, tool.command})
	}
	return found, nil
}

// migrate is the program itself.
func (b *bench) migrate(ctx context.Context, address, database string) *exec.Cmd {
	command := exec.CommandContext(ctx, b.binary)
	command.Env = []string{"DATABASE_URL=" + url(address, database), "WAIT_TIMEOUT=60s"}
	return command
}

type step struct{ number, name, up, down string }

func readSteps() ([]step, error) {
	files, err := fs.Glob(migrations.FS, "*.up.sql")
	if err != nil {
		return nil, err
	}
	var steps []step
	for _, file := range files {
		base := strings.TrimSuffix(file, ".up.sql")
		up, err := fs.ReadFile(migrations.FS, file)
		if err != nil {
			return nil, err
		}
		down, err := fs.ReadFile(migrations.FS, base+".down.sql")
		if err != nil {
			return nil, err
		}
		number, name, _ := strings.Cut(base, "_")
		steps = append(steps, step{number, name, string(up), string(down)})
	}
	return steps, nil
}

// tool is somebody else's program, and the form in which it takes the steps.
type tool struct {
	name    string
	program string
	write   func([]step) error
	command func(ctx context.Context, address, database string) *exec.Cmd
}

func tools(dir string) []tool {
	in := func(sub string) string { return filepath.Join(dir, sub) }
	return []tool{
		{"psql -1 -f", "psql", func(steps []step) error {
			var all strings.Builder
			for _, step := range steps {
				all.WriteString(step.up)
			}
			return write(in("psql/all.sql"), all.String())
		}, func(ctx context.Context, address, database string) *exec.Cmd {
			return exec.CommandContext(ctx, "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-o", os.DevNull, "-f", in("psql/all.sql"), url(address, database))
		}},
		{"golang-migrate", "migrate", each(func(s step) error {
			base := in("migrate/" + s.number + "_" + s.name)
			if err := write(base+".up.sql", s.up); err != nil {
				return err
			}
			return write(base+".down.sql", s.down)
		}), func(ctx context.Context, address, database string) *exec.Cmd {
			return exec.CommandContext(ctx, "migrate", "-path", in("migrate"), "-database", url(address, database), "up")
		}},
		{"goose", "goose", each(func(s step) error {
			return write(in("goose/"+s.number+"_"+s.name+".sql"), "-- +goose Up\n-- +goose StatementBegin\n"+s.up+
				"\n-- +goose StatementEnd\n-- +goose Down\n-- +goose StatementBegin\n"+s.down+"\n-- +goose StatementEnd\n")
		}), func(ctx context.Context, address, database string) *exec.Cmd {
			return exec.CommandContext(ctx, "goose", "-dir", in("goose"), "postgres", url(address, database), "up")
		}},
		{"dbmate", "dbmate", each(func(s step) error {
			return write(in("dbmate/"+s.number+"_"+s.name+".sql"), "-- migrate:up\n"+s.up+"\n-- migrate:down\n"+s.down)
		}), func(ctx context.Context, address, database string) *exec.Cmd {
			return exec.CommandContext(ctx, "dbmate", "--url", url(address, database), "--migrations-dir", in("dbmate"), "--no-dump-schema", "migrate")
		}},
		{"tern", "tern", each(func(s step) error {
			return write(in("tern/"+s.number[3:]+"_"+s.name+".sql"), s.up+"\n---- create above / drop below ----\n"+s.down)
		}), func(ctx context.Context, address, database string) *exec.Cmd {
			return exec.CommandContext(ctx, "tern", "migrate", "--migrations", in("tern"), "--conn-string", url(address, database))
		}},
		{"alembic", "alembic", func(steps []step) error {
			return writeAlembic(in("alembic"), steps)
		}, func(ctx context.Context, address, database string) *exec.Cmd {
			command := exec.CommandContext(ctx, "alembic", "-c", in("alembic/alembic.ini"), "upgrade", "head")
			command.Env = append(os.Environ(), "BENCH_URL="+strings.Replace(url(address, database), "postgres://", "postgresql+psycopg2://", 1))
			return command
		}},
	}
}

func each(write func(step) error) func([]step) error {
	return func(steps []step) error {
		for _, step := range steps {
			if err := write(step); err != nil {
				return err
			}
		}
		return nil
	}
}

const alembicEnv = `import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["BENCH_URL"]).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
`

func writeAlembic(dir string, steps []step) error {
	if err := write(filepath.Join(dir, "alembic.ini"), "[alembic]\nscript_location = "+dir+"\n"); err != nil {
		return err
	}
	if err := write(filepath.Join(dir, "env.py"), alembicEnv); err != nil {
		return err
	}
	previous := "None"
	for _, step := range steps {
		sql := filepath.Join(dir, step.number+".sql")
		if err := write(sql, step.up); err != nil {
			return err
		}
		revision := fmt.Sprintf("from alembic import op\nrevision = '%s'\ndown_revision = %s\n\n\ndef upgrade():\n    op.get_bind().exec_driver_sql(open('%s').read().replace('%%', '%%%%'))\n",
			step.number, previous, sql)
		if err := write(filepath.Join(dir, "versions", step.number+"_"+step.name+".py"), revision); err != nil {
			return err
		}
		previous = "'" + step.number + "'"
	}
	return nil
}

func write(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

// timed runs a command to its end, and returns how long that took. What it said is in the
// error, should there be one.
func timed(command *exec.Cmd) (time.Duration, error) {
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	start := time.Now()
	err := command.Run()
	took := time.Since(start)
	if err != nil {
		return took, fmt.Errorf("%s: %w\n%s", filepath.Base(command.Path), err, output.String())
	}
	return took, nil
}

// series are times of one contender, in the order in which they were measured.
type series struct {
	name  string
	times []time.Duration
}

// quantile returns the value below which that part of the values lies.
func quantile[T int64 | float64 | time.Duration](values []T, part float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(part*float64(len(sorted)-1)+0.5)]
}

// table renders series beside the first one, with the ratios of what was measured in the
// same round.
func table(all []series) string {
	var text strings.Builder
	text.WriteString("| | median | 10 % to 90 % | ratio | 10 % to 90 % |\n|---|---|---|---|---|\n")
	for _, s := range all {
		var ratios []float64
		for i, took := range s.times {
			ratios = append(ratios, float64(took)/float64(all[0].times[i]))
		}
		fmt.Fprintf(&text, "| %s | %s | %s - %s | %.2f | %.2f - %.2f |\n", s.name,
			short(quantile(s.times, 0.5)), short(quantile(s.times, 0.1)), short(quantile(s.times, 0.9)),
			quantile(ratios, 0.5), quantile(ratios, 0.1), quantile(ratios, 0.9))
	}
	return text.String()
}

// short renders a duration with three digits.
func short(d time.Duration) string {
	switch {
	case d >= 100*time.Second:
		return d.Round(time.Second).String()
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 100*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
