package migrator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/schema"
)

// actAs makes new tables belong to the owner of the old ones: an application that is not a superuser could not read
// what a superuser has made.
func actAs(ctx context.Context, conn *pgconn.PgConn, owner string) error {
	if owner == "" {
		return nil
	}
	if _, err := conn.Exec(ctx, "SET LOCAL ROLE "+owner).ReadAll(); err != nil {
		return fmt.Errorf("act as %s, who owns the tables: %w", owner, err)
	}
	return nil
}

// removeLeftovers makes way for the steps that will make those tables. One that holds rows stays as it is, if its step
// can live with that; otherwise the database is refused, because nobody can tell where the rows belong.
func (m *Migrator) removeLeftovers(ctx context.Context, conn *pgconn.PgConn, leftovers schema.Shape) error {
	tables := slices.Sorted(slices.Values(leftovers.Names("table")))
	full, err := filled(ctx, conn, tables)
	if err != nil {
		return err
	}
	var drop, refused []string
	for _, table := range tables {
		switch {
		case !slices.Contains(full, table):
			drop = append(drop, table)
		case m.steps.keeps(table, leftovers):
			m.log.Info("kept a table that a newer application has filled", "table", table)
		default:
			refused = append(refused, table)
		}
	}
	if len(refused) > 0 {
		return fmt.Errorf("%w: tables of a newer release hold rows that cannot be carried over: %s",
			ErrUnrecognised, strings.Join(refused, ", "))
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
