package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pephub-migrate/internal/migrator"
	"pephub-migrate/internal/schema"
	"pephub-migrate/migrations/review"
	"pephub-migrate/migrations/snapshot"
)

// revision is the next step in the making.
type revision struct {
	request
	server *scratch
	below  migrator.Step // which it follows on
	number int

	base, wanted *tables
	baseShape    schema.Shape
	wantedShape  schema.Shape
	baseSchema   string // what unqualified names lead to
	file         schemaFile
	text         string       // of schema.sql, as it is to be
	revision     string       // what alembic_version is to say
	statements   []statement  // Alembic's; empty if the differ has them
	live         bool         // whether the schema is that of a database, and schema.sql is written from it
	liveShape    schema.Shape // of that database
}

// draft writes the next step.
func (r request) draft(ctx context.Context, server *scratch, output io.Writer) error {
	steps, err := r.steps()
	if err != nil {
		return err
	}
	below := steps[len(steps)-1]
	v := &revision{request: r, server: server, below: below, number: below.Number + 1, revision: below.Revision}
	for _, prepare := range []func(context.Context) error{v.makeBase, v.readWanted, v.makeWanted} {
		if err := prepare(ctx); err != nil {
			return err
		}
	}
	up, down, err := v.changes(ctx)
	if err != nil {
		return err
	}
	if err := v.write(up, down); err != nil {
		return err
	}
	trouble, err := v.try(ctx)
	if err != nil {
		return err
	}
	findings, err := v.review(up, down)
	if len(differences(v.baseShape, v.wantedShape)) == 0 {
		findings = append(findings, fmt.Sprintf("A snapshot does not show what changes, and the tests refuse a step that looks like step %d: "+
			"change what one shows too, such as the name of the constraint.", below.Number))
	}
	v.report(output, append(trouble, findings...), len(trouble) == 0)
	return err
}

// path is the name of one of the step's files.
func (v *revision) path(ending string) string {
	return v.request.file(fmt.Sprintf("%06d_%s.%s", v.number, v.name, ending))
}

// makeBase makes the database of all steps.
func (v *revision) makeBase(ctx context.Context) error {
	conn, err := v.server.database(ctx, "steps")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if err := v.runSteps(ctx, conn); err != nil {
		return err
	}
	if err := conn.QueryRow(ctx, "SELECT current_schema()").Scan(&v.baseSchema); err != nil {
		return err
	}
	if v.base, err = readTables(ctx, conn); err != nil {
		return err
	}
	v.baseShape, err = snapshot.Shape(ctx, conn.PgConn())
	return err
}

// runSteps runs the up files of all steps that there were.
func (v *revision) runSteps(ctx context.Context, conn *pgx.Conn) error {
	files, err := filepath.Glob(v.request.file("*.up.sql"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if file != v.path("up.sql") {
			if err := execute(ctx, conn, file); err != nil {
				return err
			}
		}
	}
	return nil
}

// execute runs a file as one transaction.
func execute(ctx context.Context, conn *pgx.Conn, file string) error {
	sql, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if _, err := conn.PgConn().Exec(ctx, string(sql)).ReadAll(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return nil
}

// readWanted finds out what schema.sql is to be.
func (v *revision) readWanted(ctx context.Context) error {
	text, err := os.ReadFile(v.request.file("schema.sql"))
	if err != nil {
		return err
	}
	v.text, v.file = string(text), parseSchemaFile(string(text))
	switch {
	case v.fromDatabase != "":
		return v.fromLive(ctx)
	case v.fromAlembic != "":
		return v.fromRevision(ctx)
	}
	return nil
}

// fromLive takes the schema from a live database.
func (v *revision) fromLive(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, v.fromDatabase)
	if err != nil {
		return fmt.Errorf("connect to the database of -from-database: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "SET default_transaction_read_only = on"); err != nil {
		return err
	}
	if v.liveShape, err = snapshot.Shape(ctx, conn.PgConn()); err != nil {
		return err
	}
	var revision *string
	if err := conn.QueryRow(ctx, "SELECT to_regclass('alembic_version')::text").Scan(&revision); err != nil {
		return err
	}
	if revision != nil {
		if err := conn.QueryRow(ctx, "SELECT version_num FROM alembic_version").Scan(&v.revision); err != nil {
			return fmt.Errorf("alembic_version of -from-database: %w", err)
		}
	}
	live, err := readTables(ctx, conn)
	if err != nil {
		return fmt.Errorf("-from-database: %w", err)
	}
	if len(live.byName) == 0 {
		return fmt.Errorf("the database of -from-database has no tables where its search_path leads: run create_all in it first")
	}
	v.live, v.text = true, v.file.write(live)
	return nil
}

// fromRevision takes the schema from what Alembic does to the newest step.
func (v *revision) fromRevision(ctx context.Context) error {
	printed, err := readAlembic(v.fromAlembic, v.below.Revision)
	if err != nil {
		return err
	}
	sql, err := printed.sql()
	if err != nil {
		return err
	}
	conn, err := v.server.database(ctx, "alembic")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if err := v.runSteps(ctx, conn); err != nil {
		return err
	}
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("what Alembic printed does not run on step %d: %w", v.below.Number, err)
	}
	made, err := readTables(ctx, conn)
	if err != nil {
		return err
	}
	v.live, v.text, v.statements, v.revision = true, v.file.write(made), printed.statements, printed.to
	v.liveShape, err = snapshot.Shape(ctx, conn.PgConn())
	return err
}

// makeWanted makes the database of schema.sql, and sees that every foreign key can be
// followed back by an index.
func (v *revision) makeWanted(ctx context.Context) error {
	conn, err := v.server.database(ctx, "wanted")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.PgConn().Exec(ctx, v.text).ReadAll(); err != nil {
		return fmt.Errorf("schema.sql does not run: %w", err)
	}
	if v.wanted, err = readTables(ctx, conn); err != nil {
		return err
	}
	made, err := snapshot.Shape(ctx, conn.PgConn())
	if err != nil {
		return err
	}
	if differences := made.Diff(v.liveShape); v.live && len(differences) > 0 {
		return fmt.Errorf("schema.sql cannot be written from this database: %s; write it by hand", differences[0])
	}
	if indexes := v.wanted.unindexed(v.file.names("table")); len(indexes) > 0 {
		if _, err := conn.PgConn().Exec(ctx, strings.Join(indexes, "")).ReadAll(); err != nil {
			return err
		}
		if len(v.statements) > 0 {
			more, err := parse(strings.Join(indexes, ""), v.baseSchema)
			if err != nil {
				return err
			}
			v.statements = append(v.statements, more...)
		}
		if v.wanted, err = readTables(ctx, conn); err != nil {
			return err
		}
		if v.live {
			v.text = v.file.write(v.wanted)
		} else {
			v.text += strings.Join(indexes, "")
		}
	}
	v.wantedShape, err = snapshot.Shape(ctx, conn.PgConn())
	return err
}

// changes drafts both directions. A shape does not tell whether there are any: it has no
// conditions.
func (v *revision) changes(ctx context.Context) (up, down *draft, err error) {
	forth := v.statements
	if len(forth) == 0 {
		if forth, err = differ(ctx, v.server, "steps", "wanted", v.baseSchema); err != nil {
			return nil, nil, err
		}
	}
	backwards, err := differ(ctx, v.server, "wanted", "steps", v.baseSchema)
	if err != nil {
		return nil, nil, err
	}
	if len(forth)+len(backwards) == 0 && len(differences(v.baseShape, v.wantedShape)) == 0 {
		return nil, nil, fmt.Errorf("there is nothing to do: this is the schema of step %d; change migrations/schema.sql, or name a database with -from-database", v.below.Number)
	}
	order := v.file.names("table")
	if up, err = (change{from: v.base, to: v.wanted, order: order, statements: forth, target: v.number}).draft(); err != nil {
		return nil, nil, err
	}
	down, err = change{from: v.wanted, to: v.base, order: order, statements: backwards, back: true, target: v.below.Number}.draft()
	return up, down, err
}

// differences says in what one shape is not as the other: also in an index too many,
// which an operator may have made, but no step.
func differences(have, want schema.Shape) []string {
	var all []string
	for _, difference := range have.Diff(want) {
		all = append(all, difference.String())
	}
	for _, object := range slices.Sorted(maps.Keys(have)) {
		if _, wanted := want[object]; !wanted && strings.HasPrefix(object, "index ") {
			all = append(all, object+" is not expected: "+have[object])
		}
	}
	return all
}

// write writes the files, and the snapshot with what cannot be seen in a database.
func (v *revision) write(up, down *draft) error {
	snapshotText := "alembic_version: " + v.revision + "\n"
	for _, a := range up.archives {
		snapshotText += "archive " + a.name + ": " + a.table + "\n"
	}
	files := map[string]string{
		v.path("up.sql"): up.text(), v.path("down.sql"): down.text(), v.path("schema.txt"): snapshotText,
		v.request.file("schema.sql"): v.text,
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return v.writeTexts(up.archives)
}

// try runs the draft up, back and up again on an empty database, and completes the
// snapshot. It returns what does not work yet.
func (v *revision) try(ctx context.Context) (trouble []string, err error) {
	conn, err := v.server.database(ctx, "trial")
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	if err := v.runSteps(ctx, conn); err != nil {
		return nil, err
	}
	if err := snapshot.Write(ctx, conn.PgConn(), v.path("up.sql")); err != nil {
		return []string{fmt.Sprintf("the way up does not work yet, and the snapshot is missing: %v", err)}, nil
	}
	wrong := func(way string, want schema.Shape) error {
		have, err := snapshot.Shape(ctx, conn.PgConn())
		if err != nil {
			return err
		}
		for _, difference := range differences(have, want) {
			trouble = append(trouble, way+": "+difference)
		}
		return nil
	}
	if err := wrong("the way up", v.wantedShape); err != nil {
		return nil, err
	}
	if err := execute(ctx, conn, v.path("down.sql")); err != nil {
		return append(trouble, fmt.Sprintf("the way back does not work yet: %v", err)), nil
	}
	if err := wrong("the way back", v.baseShape); err != nil {
		return nil, err
	}
	if err := execute(ctx, conn, v.path("up.sql")); err != nil {
		trouble = append(trouble, fmt.Sprintf("the second way up does not work yet: %v", err))
	}
	return trouble, nil
}

// review returns what in the draft would hurt a database that is in use. The tests refuse
// it too, unless an exception says why.
func (v *revision) review(up, down *draft) ([]string, error) {
	forth, err := review.Up(up.text(), v.baseShape)
	if err != nil {
		return nil, err
	}
	back, err := review.Down(down.text(), v.wantedShape)
	if err != nil {
		return nil, err
	}
	var said []string
	for _, finding := range forth {
		said = append(said, v.path("up.sql")+": "+finding.String())
	}
	for _, finding := range back {
		said = append(said, v.path("down.sql")+": "+finding.String())
	}
	return said, nil
}

// report says what was written and what is left to do.
func (v *revision) report(output io.Writer, remarks []string, works bool) {
	for _, ending := range []string{"up.sql", "down.sql", "schema.txt"} {
		if content, err := os.ReadFile(v.path(ending)); err == nil {
			fmt.Fprintf(output, "%s%s\n", v.path(ending), todos(string(content)))
		}
	}
	if text, err := os.ReadFile(v.request.texts); err == nil && strings.Contains(string(text), "TODO") {
		fmt.Fprintf(output, "%s%s\n", v.request.texts, todos(string(text)))
	}
	for _, one := range remarks {
		fmt.Fprintln(output, one)
	}
	if works {
		fmt.Fprintf(output, "On an empty database they lead to migrations/schema.sql, back to step %d, and up again.\n", v.below.Number)
	}
	fmt.Fprintf(output, "Write what says TODO, and the snapshot's first lines: what alembic_version says, and oldest_step: %d if applications of that step can work on this one.\n", v.below.Oldest)
}

// todos counts what is left to a person.
func todos(text string) string {
	switch count := strings.Count(text, "TODO"); count {
	case 0:
		return ""
	case 1:
		return ": 1 TODO"
	default:
		return fmt.Sprintf(": %d TODOs", count)
	}
}
