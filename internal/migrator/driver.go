package migrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/golang-migrate/migrate/v4/source"
	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/postgres"
)

// driver lets golang-migrate work inside the transaction that is open on conn. Nothing it
// does is seen by anyone before the commit, so there is no dirty state to record between
// the steps, and the version is written once, by record, after the last of them.
type driver struct {
	ctx     context.Context // golang-migrate's calls carry none
	conn    *pgconn.PgConn
	log     *slog.Logger
	watcher *watcher
	steps   Steps
	version int   // the step reached, or database.NilVersion
	taken   int   // how many steps were taken
	rows    int64 // how many rows the statements of all steps have written

	next int  // the version that golang-migrate has announced
	ran  bool // whether its body has run
}

// Lock and Unlock have nothing to do: the transaction holds the lock.
func (d *driver) Lock() error   { return nil }
func (d *driver) Unlock() error { return nil }

// Version returns the step reached.
func (d *driver) Version() (version int, dirty bool, err error) { return d.version, false, nil }

// SetVersion is called before a step with dirty set and after it without. golang-migrate
// calls it both times, and Run not at all, for a version that has no file in this
// direction; that is an error here.
func (d *driver) SetVersion(version int, dirty bool) error {
	if dirty {
		d.next, d.ran = version, false
		return nil
	}
	if !d.ran {
		return fmt.Errorf("%w: nothing was run to get from step %d to %d", ErrStep, d.version, version)
	}
	d.version = version
	d.taken++
	return nil
}

// Run executes the body of one step, which must be the very text that was read when the
// steps were loaded: golang-migrate by itself hands over an empty or a shortened body
// when it fails to read one.
func (d *driver) Run(migration io.Reader) error {
	body, err := io.ReadAll(migration)
	if err != nil {
		return fmt.Errorf("%w: read step %d: %w", ErrStep, d.next, err)
	}
	step, want := d.expected()
	if string(body) != want || want == "" {
		return fmt.Errorf("%w: step %d could not be read whole", ErrStep, step.Number)
	}
	start := time.Now()
	d.watcher.begin(step)
	results, err := postgres.Exec(d.ctx, d.conn, want)
	if d.conn.TxStatus() == outsideTransaction && !d.conn.IsClosed() {
		return fmt.Errorf("%w: step %d ended the transaction that it shares with the others", ErrStep, step.Number)
	}
	if err != nil {
		return &StepError{Step: step, sql: want, Err: err}
	}
	d.ran = true
	rows := written(results)
	d.rows += rows
	action := "migrated"
	if d.next < d.version {
		action = "migrated back"
	}
	d.log.Info(action, "step", step.Number, "name", step.Name, "rows", rows, "duration", time.Since(start).Round(time.Millisecond))
	return nil
}

// written counts the rows of INSERT, UPDATE, DELETE and CREATE TABLE AS. Those that a
// query returns are not written.
func written(results []*pgconn.Result) (rows int64) {
	for _, result := range results {
		if len(result.FieldDescriptions) == 0 {
			rows += result.CommandTag.RowsAffected()
		}
	}
	return rows
}

// expected returns the step that leads from the version reached to the one announced, and
// its body.
func (d *driver) expected() (Step, string) {
	if d.next > d.version {
		step, _ := d.steps.find(d.next)
		return step, step.up
	}
	step, _ := d.steps.find(d.version)
	return step, step.down
}

// Open, Close and Drop are not called for a driver that is handed over as an instance.
func (d *driver) Open(string) (database.Driver, error) { return nil, errors.ErrUnsupported }
func (d *driver) Close() error                         { return errors.ErrUnsupported }
func (d *driver) Drop() error                          { return errors.ErrUnsupported }

// stepSource hands the steps to golang-migrate as they were read and checked. A file is
// not read a second time: in a folder, somebody may have changed it meanwhile.
type stepSource struct{ steps Steps }

// First, Prev and Next return the version of a step, or an error that golang-migrate
// takes for the end of the way.
func (s stepSource) First() (uint, error)            { return uint(s.steps[0].Number), nil }
func (s stepSource) Prev(version uint) (uint, error) { return s.find(version - 1) }
func (s stepSource) Next(version uint) (uint, error) { return s.find(version + 1) }
func (s stepSource) find(version uint) (uint, error) {
	if _, ok := s.steps.find(int(version)); !ok {
		return 0, fs.ErrNotExist
	}
	return version, nil
}

// ReadUp and ReadDown return the body of a step, and its name.
func (s stepSource) ReadUp(version uint) (io.ReadCloser, string, error) {
	step, _ := s.steps.find(int(version))
	return s.body(step, step.up)
}

func (s stepSource) ReadDown(version uint) (io.ReadCloser, string, error) {
	step, _ := s.steps.find(int(version))
	return s.body(step, step.down)
}

func (s stepSource) body(step Step, text string) (io.ReadCloser, string, error) {
	if text == "" {
		return nil, "", fs.ErrNotExist
	}
	return io.NopCloser(strings.NewReader(text)), step.Name, nil
}

// Open and Close are not called for a source that is handed over as an instance.
func (s stepSource) Open(string) (source.Driver, error) { return nil, errors.ErrUnsupported }
func (s stepSource) Close() error                       { return errors.ErrUnsupported }

// outsideTransaction is the transaction status 'I' of the protocol's ReadyForQuery: idle,
// in no block.
const outsideTransaction = 'I'

// StepError is a step that failed. It is an ErrStep, and wraps what the server said.
type StepError struct {
	Step Step
	Err  error

	sql string
}

// Error names the step and, where the server points to one, the line.
func (e *StepError) Error() string {
	where := fmt.Sprintf("step %d %s", e.Step.Number, e.Step.Name)
	var pgErr *pgconn.PgError
	if !errors.As(e.Err, &pgErr) {
		return where + ": " + e.Err.Error()
	}
	if line := lineOf(e.sql, int(pgErr.Position)); line > 0 {
		where += fmt.Sprintf(", line %d", line)
	}
	text := fmt.Sprintf("%s: %s (SQLSTATE %s)", where, pgErr.Message, pgErr.Code)
	if pgErr.Code != raiseException {
		text += detail(pgErr.Where)
	}
	return text + detail(pgErr.Detail) + detail(pgErr.Hint)
}

// raiseException is the SQLSTATE of a step's own RAISE, whose text needs no PL/pgSQL
// context.
const raiseException = "P0001"

func detail(text string) string {
	if text == "" {
		return ""
	}
	return "; " + strings.ReplaceAll(text, "\n", " ")
}

// Unwrap returns the class and the cause.
func (e *StepError) Unwrap() []error { return []error{ErrStep, e.Err} }

// lineOf returns the line, from 1, of a position that PostgreSQL counts in characters,
// from 1; or 0 for none.
func lineOf(sql string, position int) int {
	if position <= 0 {
		return 0
	}
	characters := []rune(sql)
	return 1 + strings.Count(string(characters[:min(position-1, len(characters))]), "\n")
}
