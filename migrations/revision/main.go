// Revision drafts the next step from a changed schema: its up and down files and its
// snapshot.
//
//	go run ./migrations/revision "add project licence"                         from migrations/schema.sql, after it was edited
//	go run ./migrations/revision -from-database URL "add project licence"      from a live database; writes schema.sql too
//	go run ./migrations/revision -from-alembic FILE "add project licence"      from what "alembic upgrade A:B --sql" printed; writes schema.sql too
//	go run ./migrations/revision                                               brings the snapshots up to date after a step was edited
//
// It makes one database by all steps and one by the schema that is wanted, on a
// PostgreSQL that it starts in a container (POSTGRES_VERSION, 17 by default) or on the
// one that -server names, and has pg-schema-diff compare them in both directions. What
// only a person can decide is written as a TODO, and the tests refuse a step that has
// one. The two databases it makes are dropped at the end; the one that -from-database
// names is only read.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"

	"pephub-migrate/internal/migrator"
	"pephub-migrate/internal/schema"
	"pephub-migrate/migrations/review"
	"pephub-migrate/migrations/snapshot"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

// request is what the arguments ask for.
type request struct {
	dir          string // of the steps
	texts        string // the file of what docs/schema.md says of tables
	name         string // of the new step as in its files' names; empty to bring snapshots up to date
	fromDatabase string
	fromAlembic  string
	server       string
}

var noName = regexp.MustCompile(`[^a-z0-9]+`)

func parseArguments(args []string) (request, error) {
	r := request{dir: "migrations", texts: "docs/texts.txt"}
	flags := flag.NewFlagSet("revision", flag.ContinueOnError)
	flags.StringVar(&r.fromDatabase, "from-database", "", "take the schema from the database at this `URL`, which is only read")
	flags.StringVar(&r.fromAlembic, "from-alembic", "", "take the statements from this `file`, as \"alembic upgrade A:B --sql\" prints them; - is standard input")
	flags.StringVar(&r.server, "server", "", "a PostgreSQL to make scratch databases on, as a `URL`, in place of a container")
	if err := flags.Parse(args); err != nil {
		return r, err
	}
	r.name = strings.Trim(noName.ReplaceAllString(strings.ToLower(strings.Join(flags.Args(), " ")), "_"), "_")
	switch {
	case flags.NArg() > 0 && r.name == "":
		return r, errors.New("the name of a step needs letters or digits")
	case r.name == "" && (r.fromDatabase != "" || r.fromAlembic != ""):
		return r, errors.New(`give the step a name, such as "add project licence"`)
	case r.fromDatabase != "" && r.fromAlembic != "":
		return r, errors.New("-from-database and -from-alembic exclude each other")
	}
	return r, nil
}

func run(ctx context.Context, args []string, output io.Writer) error {
	r, err := parseArguments(args)
	if err != nil {
		return err
	}
	if _, err := os.Stat(r.file("schema.sql")); err != nil {
		return fmt.Errorf("run this from the top of the repository: %w", err)
	}
	server, err := openScratch(ctx, r.server)
	if err != nil {
		return err
	}
	defer server.close()
	if r.name == "" {
		return r.refresh(ctx, server, output)
	}
	return r.draft(ctx, server, output)
}

func (r request) file(name string) string { return filepath.Join(r.dir, name) }

// steps returns the steps of the folder, but for drafts, which it returns an error for.
func (r request) steps() (migrator.Steps, error) {
	steps, err := migrator.LoadFolder(os.DirFS(r.dir))
	if err != nil {
		return nil, err
	}
	if err := steps.Check(); err != nil {
		return nil, fmt.Errorf("finish what there is before the next step, or take its files away: %w", err)
	}
	return steps, nil
}

// refresh writes the snapshots of all steps anew, and says what keeps the tests from
// passing.
func (r request) refresh(ctx context.Context, server *scratch, output io.Writer) error {
	conn, err := server.database(ctx, "steps")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if err := snapshot.Update(ctx, conn.PgConn(), r.dir); err != nil {
		return err
	}
	steps, err := migrator.LoadFolder(os.DirFS(r.dir))
	if err != nil {
		return err
	}
	if err := r.pruneTexts(); err != nil {
		return err
	}
	findings, err := review.Own(os.DirFS(r.dir), steps)
	if err != nil {
		return err
	}
	shape, err := r.schemaFileShape(ctx, server)
	if err != nil {
		return err
	}
	var left []error
	for _, difference := range differences(shape, steps[len(steps)-1].Shape) {
		left = append(left, fmt.Errorf("%s: %s, by what the steps make", r.file("schema.sql"), difference))
	}
	for _, finding := range findings {
		left = append(left, errors.New(r.file(finding)))
	}
	if err := errors.Join(append(left, steps.Check())...); err != nil {
		return fmt.Errorf("the snapshots are written, and this is left to do:\n%w", err)
	}
	fmt.Fprintf(output, "The snapshots are written, and nothing in steps %d to %d is left to do. What they do to the schema: git diff migrations/*.schema.txt\n",
		review.FirstReviewed, steps[len(steps)-1].Number)
	return nil
}

// schemaFileShape returns the shape of what schema.sql makes.
func (r request) schemaFileShape(ctx context.Context, server *scratch) (schema.Shape, error) {
	conn, err := server.database(ctx, "wanted")
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	if err := execute(ctx, conn, r.file("schema.sql")); err != nil {
		return nil, err
	}
	return snapshot.Shape(ctx, conn.PgConn())
}
