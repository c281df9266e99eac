package migrator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/postgres"
	"pephub-migrate/internal/schema"
)

// nameUndecided logs the projects that nobody can say the schema of, if there are any.
// pepdbagent 0.12 works on the tables of 0.11 if somebody adds users.number_of_schemas
// for it; it then takes projects.schema_id for the number of a version, which 0.11 takes
// for that of a schema. It only adds to a refusal, and so returns nothing.
func (m *Migrator) nameUndecided(ctx context.Context, conn *pgconn.PgConn, db schema.Database) {
	for _, table := range []string{"projects", "schemas", "schema_versions"} {
		if definition, ok := db.Shape["table "+table]; !ok || definition != "" {
			return // a view would run code of others
		}
	}
	for column, kind := range map[string]string{
		"schemas.id": "integer", "schema_versions.id": "integer", "projects.schema_id": "integer",
		"projects.namespace": "character varying", "projects.name": "character varying", "projects.tag": "character varying",
	} {
		if !strings.HasPrefix(db.Shape["column "+column], kind) {
			return
		}
	}
	ctx, cancel := m.briefly(ctx)
	defer cancel()
	if err := m.refusePlanted(ctx, conn); err != nil {
		m.log.Warn("projects whose schema is undecided are not looked for", "reason", err)
		return
	}
	rows, err := schema.AskTable(ctx, conn, 1, fmt.Sprintf(`
		SELECT p.namespace || '/' || p.name || ':' || p.tag
		FROM ONLY %[1]s.projects AS p TABLESAMPLE SYSTEM (100)
		JOIN ONLY %[1]s.schemas AS s TABLESAMPLE SYSTEM (100) ON s.id = p.schema_id
		JOIN ONLY %[1]s.schema_versions AS v TABLESAMPLE SYSTEM (100) ON v.id = p.schema_id
		ORDER BY 1`, db.Schema))
	if err != nil {
		m.log.Warn("cannot look for projects whose schema is undecided", "error", err)
		return
	}
	for _, row := range rows {
		m.log.Error("undecided: this project is linked to a schema of 0.11 and to a version of 0.12, which have the same number",
			"project", string(row[0]))
	}
}

// clearing is what becomes of the leftovers.
type clearing struct {
	drop, keep []string // tables
	types      []string // enums to drop
}

// sql returns the statements that drop what is to go.
func (c clearing) sql(schema string) string {
	var sql string
	if len(c.drop) > 0 {
		sql = "DROP TABLE " + qualified(schema, c.drop) + ";\n"
	}
	for _, enum := range c.types {
		sql += fmt.Sprintf("DROP TYPE %s.%s;\n", schema, enum)
	}
	return sql
}

// sortOut decides what becomes of the leftovers, of which some are full of rows. The
// steps up to the target make the empty ones anew. One that holds rows stays as it is, if
// its step is among those and can live with that; otherwise the database is refused,
// because nobody can tell where the rows belong. So is one that no application has made.
func (s Steps) sortOut(leftovers schema.Shape, full []string, target int) (clearing, error) {
	var c clearing
	var refused []string
	for _, table := range slices.Sorted(slices.Values(leftovers.Names("table"))) {
		made, keeps := s.makes(table, leftovers, target)
		switch empty := !slices.Contains(full, table); {
		case made && empty:
			c.drop = append(c.drop, table)
		case keeps:
			c.keep = append(c.keep, table)
		case made:
			refused = append(refused, table+", which holds rows")
		case leftovers["table "+table] != "":
			refused = append(refused, fmt.Sprintf("%s (%s), which is not as any release makes it", table, leftovers["table "+table]))
		default:
			refused = append(refused, table+", which is not as any release makes it")
		}
	}
	if len(refused) > 0 {
		return c, fmt.Errorf("%w: a newer release has tables of these names, and they cannot be carried over: %s",
			ErrUnrecognised, strings.Join(refused, "; "))
	}
	if len(full) == 0 {
		c.types = slices.Sorted(slices.Values(leftovers.Names("enum")))
	}
	return c, nil
}

// settle decides between the ways to see a database by whether tables hold rows.
func (m *Migrator) settle(ctx context.Context, conn *pgconn.PgConn, db schema.Database, at position) (position, error) {
	decides := at.stale
	if at.ifEmpty != nil {
		decides = at.ifEmpty.leftovers
	}
	if decides == nil {
		return at, nil
	}
	if err := m.refusePlanted(ctx, conn); err != nil {
		return at, err
	}
	passedOver := at
	passedOver.stale = nil // nobody is kept from tables that stay
	full, err := filled(ctx, conn, db.Schema, decides, !m.done(db, passedOver))
	switch {
	case err != nil:
		return at, err
	case at.stale != nil && len(full) > 0:
		return at, m.steps.nearest(db.Shape)
	case at.stale != nil:
		return m.withoutStale(db, at), nil
	case len(full) > 0:
		return at, nil
	}
	return *at.ifEmpty, nil
}

// withoutStale passes over empty tables of earlier steps if there is nothing else to do:
// the application that has made them may be making them again and again, and nobody is to
// wait for its end. Otherwise they make way for the steps.
func (m *Migrator) withoutStale(db schema.Database, at position) position {
	stale := at.stale
	at.stale = nil
	if m.done(db, at) {
		m.sayWaiting("empty tables of an older release are there: an application that is older than the database was started on it",
			"tables", strings.Join(slices.Sorted(slices.Values(stale.Names("table"))), ", "))
		return at
	}
	at.leftovers = stale
	return at
}

// lockSQL takes tables by names that are found under the search path at hand, in the form
// of a list.
func lockSQL(tables string) string { return "LOCK TABLE " + tables + " IN ACCESS EXCLUSIVE MODE" }

// qualified returns a list of the tables for a statement, each with its schema.
func qualified(schema string, tables []string) string {
	var names []string
	for _, table := range tables {
		names = append(names, schema+"."+table)
	}
	return strings.Join(names, ", ")
}

// filled returns those tables of the leftovers that hold rows. If it locks, within a
// transaction that may drop the others, nobody fills them meanwhile. It leaves alone what
// only has the name of a table: to read a view runs code of others.
func filled(ctx context.Context, conn *pgconn.PgConn, schemaName string, leftovers schema.Shape, locks bool) ([]string, error) {
	tables := slices.DeleteFunc(leftovers.Names("table"), func(table string) bool { return leftovers["table "+table] != "" })
	if len(tables) == 0 {
		return nil, nil
	}
	if locks && conn.TxStatus() == 'T' {
		if _, err := postgres.Exec(ctx, conn, lockSQL(qualified(schemaName, tables))); err != nil {
			return nil, fmt.Errorf("lock tables of a newer release: %w", err)
		}
	}
	var questions []string
	for _, table := range tables {
		questions = append(questions, fmt.Sprintf("SELECT '%[2]s' WHERE EXISTS (SELECT FROM ONLY %[1]s.%[2]s TABLESAMPLE SYSTEM (100))", schemaName, table))
	}
	rows, err := schema.AskTable(ctx, conn, 1, strings.Join(questions, " UNION ALL "))
	if err != nil {
		return nil, fmt.Errorf("look for rows in tables of a newer release: %w", err)
	}
	var full []string
	for _, row := range rows {
		full = append(full, string(row[0]))
	}
	return full, nil
}

// logPosition says where the database is, once: further attempts mostly find it there
// again.
func (m *Migrator) logPosition(db schema.Database, at Step) {
	if m.logged {
		return
	}
	m.logged = true
	switch at.Number {
	case 0:
		m.log.Info("recognised an empty database", "schema", db.Schema)
	case db.Version():
		m.log.Info("recognised", "schema", db.Schema, "step", at.Number, "release", at.Release)
	default:
		m.log.Info("adopted", "schema", db.Schema, "step", at.Number, "release", at.Release)
	}
}
