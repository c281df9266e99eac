package migrator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/schema"
)

// adopt prepares tables that are there already. New ones will belong to their owner: an application that is not a
// superuser could not read what a superuser has made. And the operator's own triggers and rules on them stand still until
// handBack: one that sets a date on every update would change all of them.
func adopt(ctx context.Context, conn *pgconn.PgConn, db schema.Database) error {
	tables := db.Shape.Names("table")
	if len(tables) == 0 {
		return nil
	}
	sql := fmt.Sprintf(standStill, "'"+strings.Join(tables, "', '")+"'")
	if db.Owner != "" {
		sql = "SET LOCAL ROLE " + db.Owner + ";" + sql
	}
	if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("act as the owner of the tables: %w", err)
	}
	return nil
}

// standStill disables triggers and rules, and remembers how each was enabled, for the rest of the transaction.
const standStill = `
	DO $$
	DECLARE
		own record;
	BEGIN
		PERFORM set_config('pephub_migrate.enable', '', true);
		FOR own IN
			SELECT c.relname, h.kind, h.name, h.enabled
			FROM (
				SELECT tgrelid AS relid, 'TRIGGER' AS kind, tgname AS name, tgenabled AS enabled
				FROM pg_trigger
				WHERE NOT tgisinternal
				UNION ALL
				SELECT ev_class, 'RULE', rulename, ev_enabled
				FROM pg_rewrite
			) AS h
			JOIN pg_class AS c ON c.oid = h.relid
			WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema()))
				AND c.relname IN (%[1]s)
				AND c.relkind = 'r'
				AND h.enabled <> 'D'
		LOOP
			RAISE NOTICE '%% %% of table %% stands still during the migration', lower(own.kind), own.name, own.relname;
			EXECUTE format('ALTER TABLE %%I DISABLE %%s %%I', own.relname, own.kind, own.name);
			PERFORM set_config('pephub_migrate.enable', current_setting('pephub_migrate.enable') || format(
				'ALTER TABLE IF EXISTS %%I ENABLE %%s %%s %%I;',
				own.relname, CASE own.enabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' END, own.kind, own.name
			), true);
		END LOOP;
	END
	$$;`

// handBack is what adopt leaves to be done when the steps are through: triggers and rules are enabled again, and whoever
// may use projects may use the new tables and their sequences likewise.
func handBack(from, to Step) string {
	if from.Number == 0 {
		return ""
	}
	old := from.Shape.Names("table")
	made := []string{"alembic_version", "schema_migrations"}
	for _, table := range to.Shape.Names("table") {
		if !slices.Contains(old, table) {
			made = append(made, table)
		}
	}
	return fmt.Sprintf(grantAndEnable, "'"+strings.Join(made, "', '")+"'")
}

const grantAndEnable = `
	DO $$
	DECLARE
		own text;
	BEGIN
		FOR own IN
			SELECT format(
				'GRANT %%s ON %%s %%I TO %%s%%s',
				a.privilege_type,
				CASE made.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
				made.relname,
				CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
				CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
			)
			FROM (VALUES ('r', 'projects'), ('S', 'projects_id_seq')) AS model (relkind, relname)
			JOIN pg_class AS c ON c.oid = to_regclass(model.relname)
			CROSS JOIN LATERAL aclexplode(c.relacl) AS a
			JOIN pg_class AS made
				ON made.relnamespace = c.relnamespace
				AND made.relkind::text = model.relkind
				AND regexp_replace(made.relname, '_id_seq$', '') IN (%[1]s)
			WHERE a.grantee <> c.relowner
		LOOP
			EXECUTE own;
		END LOOP;
		EXECUTE current_setting('pephub_migrate.enable');
	END
	$$;`

// nameUndecided logs the projects that nobody can say the schema of, if there are any. pepdbagent 0.12 works on the tables
// of 0.11 if somebody adds users.number_of_schemas for it; it then takes projects.schema_id for the number of a version,
// which 0.11 takes for that of a schema.
func (m *Migrator) nameUndecided(ctx context.Context, conn *pgconn.PgConn, shape schema.Shape) error {
	for _, column := range []string{"schemas.id", "schema_versions.id", "projects.schema_id", "projects.namespace", "projects.name", "projects.tag"} {
		if _, ok := shape["column "+column]; !ok {
			return nil
		}
	}
	results, err := conn.Exec(ctx, `
		SELECT p.namespace || '/' || p.name || ':' || p.tag
		FROM projects AS p
		JOIN schemas AS s ON s.id = p.schema_id
		JOIN schema_versions AS v ON v.id = p.schema_id
		ORDER BY 1`).ReadAll()
	if err != nil {
		return fmt.Errorf("look for projects whose schema is undecided: %w", err)
	}
	for _, row := range results[0].Rows {
		m.log.Error("undecided: a schema of 0.11 and a version of 0.12 go by the number that this project is linked to; "+
			"set its schema_id to NULL, or delete what it is not linked to", "project", string(row[0]))
	}
	return nil
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
		return fmt.Errorf("%w: tables by the names of a newer release's cannot be carried over: %s",
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
