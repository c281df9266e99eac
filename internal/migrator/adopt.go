package migrator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/schema"
)

// actAs makes new tables belong to the owner of the old ones: an application that is not a superuser could not read what a
// superuser has made.
func actAs(ctx context.Context, conn *pgconn.PgConn, owner string) error {
	if owner == "" {
		return nil
	}
	if _, err := conn.Exec(ctx, "SET LOCAL ROLE "+owner).ReadAll(); err != nil {
		return fmt.Errorf("act as %s, who owns the tables: %w", owner, err)
	}
	return nil
}

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
	results, err := conn.Exec(ctx, `
		SELECT p.namespace || '/' || p.name || ':' || p.tag
		FROM projects AS p
		JOIN schemas AS s ON s.id = p.schema_id
		JOIN schema_versions AS v ON v.id = p.schema_id
		ORDER BY 1`).ReadAll()
	if err != nil {
		m.log.Warn("cannot look for projects whose schema is undecided", "error", err)
		return
	}
	for _, row := range results[0].Rows {
		m.log.Error("undecided: this project is linked to a schema of 0.11 and to a version of 0.12, which have the same number",
			"project", string(row[0]))
	}
}

// removeLeftovers makes way for the steps that will make those tables. One that holds rows stays as it is, if its step
// can live with that; otherwise the database is refused, because nobody can tell where the rows belong. So is one that
// no application has made.
func (m *Migrator) removeLeftovers(ctx context.Context, conn *pgconn.PgConn, leftovers schema.Shape) error {
	tables := slices.Sorted(slices.Values(leftovers.Names("table")))
	full, err := filled(ctx, conn, tables)
	if err != nil {
		return err
	}
	var drop, refused []string
	for _, table := range tables {
		made, keeps := m.steps.makes(table, leftovers)
		switch empty := !slices.Contains(full, table); {
		case made && empty:
			drop = append(drop, table)
		case keeps:
			m.log.Info("kept a table that a newer application has filled", "table", table)
		case made:
			refused = append(refused, table+", which holds rows")
		default:
			refused = append(refused, table+", which is not as any release makes it")
		}
	}
	if len(refused) > 0 {
		return fmt.Errorf("%w: a newer release has tables of these names, and they cannot be carried over: %s",
			ErrUnrecognised, strings.Join(refused, "; "))
	}
	var sql string
	if len(drop) > 0 {
		sql = "DROP TABLE " + strings.Join(drop, ", ") + ";"
		m.log.Info("removed empty tables that a newer application has made", "tables", strings.Join(drop, ", "))
	}
	if len(full) == 0 {
		for _, enum := range leftovers.Names("enum") {
			sql += "DROP TYPE " + enum + ";"
		}
	}
	if sql == "" {
		return nil
	}
	if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("%w: remove empty tables of a newer release: %w", ErrStep, err)
	}
	return nil
}

// filled returns those of the tables that hold rows, and keeps everybody from adding any.
func filled(ctx context.Context, conn *pgconn.PgConn, tables []string) ([]string, error) {
	if len(tables) == 0 {
		return nil, nil
	}
	var questions []string
	for _, table := range tables {
		questions = append(questions, fmt.Sprintf("SELECT '%[1]s' WHERE EXISTS (SELECT FROM %[1]s)", table))
	}
	results, err := conn.Exec(ctx, "LOCK TABLE "+strings.Join(tables, ", ")+" IN ACCESS EXCLUSIVE MODE;"+
		strings.Join(questions, " UNION ALL ")).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("look for rows in tables of a newer release: %w", err)
	}
	var full []string
	for _, row := range results[1].Rows {
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
