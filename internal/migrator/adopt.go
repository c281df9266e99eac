package migrator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/schema"
)

// nameUndecided logs the projects that nobody can say the schema of, if there are any. pepdbagent 0.12 works on the tables
// of 0.11 if somebody adds users.number_of_schemas for it; it then takes projects.schema_id for the number of a version,
// which 0.11 takes for that of a schema. It only adds to a refusal, and so returns nothing.
func (m *Migrator) nameUndecided(ctx context.Context, conn *pgconn.PgConn, shape schema.Shape) {
	for column, kind := range map[string]string{
		"schemas.id": "integer", "schema_versions.id": "integer", "projects.schema_id": "integer",
		"projects.namespace": "character varying", "projects.name": "character varying", "projects.tag": "character varying",
	} {
		if !strings.HasPrefix(shape["column "+column], kind) {
			return
		}
	}
	ctx, cancel := m.briefly(ctx)
	defer cancel()
	_, results, err := schema.Ask(ctx, conn, `
		SELECT p.namespace || '/' || p.name || ':' || p.tag
		FROM projects AS p
		JOIN schemas AS s ON s.id = p.schema_id
		JOIN schema_versions AS v ON v.id = p.schema_id
		ORDER BY 1`)
	if err != nil {
		m.log.Warn("cannot look for projects whose schema is undecided", "error", err)
		return
	}
	for _, row := range results[0].Rows {
		m.log.Error("undecided: this project is linked to a schema of 0.11 and to a version of 0.12, which have the same number",
			"project", string(row[0]))
	}
}

// clearing is what becomes of the leftovers.
type clearing struct {
	schema     string   // as an SQL identifier
	drop, keep []string // tables
	enums      []string // to be dropped
}

// sortOut decides what becomes of the leftovers, of which some are full of rows. The steps up to the target make the empty
// ones anew. One that holds rows stays as it is, if its step is among those and can live with that; otherwise the database is
// refused, because nobody can tell where the rows belong. So is one that no application has made.
func (s Steps) sortOut(schemaName string, leftovers schema.Shape, full []string, target int) (clearing, error) {
	c := clearing{schema: schemaName}
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
		default:
			refused = append(refused, table+", which is not as any release makes it")
		}
	}
	if len(refused) > 0 {
		return c, fmt.Errorf("%w: a newer release has tables of these names, and they cannot be carried over: %s",
			ErrUnrecognised, strings.Join(refused, "; "))
	}
	if len(full) == 0 {
		c.enums = slices.Sorted(slices.Values(leftovers.Names("enum")))
	}
	return c, nil
}

// settle decides between two ways to see a database by whether tables hold rows.
func (m *Migrator) settle(ctx context.Context, conn *pgconn.PgConn, db schema.Database, at position) (position, error) {
	if at.ifEmpty == nil {
		return at, nil
	}
	full, err := filled(ctx, conn, db, at.ifEmpty.leftovers.Names("table"))
	if err != nil || len(full) > 0 {
		return at, err
	}
	return *at.ifEmpty, nil
}

func lockSQL(tables []string) string {
	return "LOCK TABLE " + strings.Join(tables, ", ") + " IN ACCESS EXCLUSIVE MODE"
}

// filled returns those of the tables that hold rows. Within a transaction, which may drop the others, it keeps everybody from
// filling them meanwhile.
func filled(ctx context.Context, conn *pgconn.PgConn, db schema.Database, tables []string) ([]string, error) {
	if len(tables) == 0 {
		return nil, nil
	}
	if conn.TxStatus() == 'T' {
		if _, err := conn.Exec(ctx, lockSQL(qualified(db, tables))).ReadAll(); err != nil {
			return nil, fmt.Errorf("lock tables of a newer release: %w", err)
		}
	}
	var questions []string
	for _, table := range tables {
		questions = append(questions, fmt.Sprintf("SELECT '%[2]s' WHERE EXISTS (SELECT FROM ONLY %[1]s.%[2]s TABLESAMPLE SYSTEM (100))", db.Schema, table))
	}
	_, results, err := schema.Ask(ctx, conn, strings.Join(questions, " UNION ALL "))
	if err != nil {
		return nil, fmt.Errorf("look for rows in tables of a newer release: %w", err)
	}
	var full []string
	for _, row := range results[0].Rows {
		full = append(full, string(row[0]))
	}
	return full, nil
}

// logPosition says where the database is, once: further attempts mostly find it there again.
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
