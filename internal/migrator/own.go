package migrator

import (
	"context"
	_ "embed" // for own.sql
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/schema"
)

//go:embed own.sql
var ownSQL string

// attached returns the query for what an operator has attached to PEPhub's tables: columns kind, relname, name, enabled.
func (m *Migrator) attached() string { return schema.Fill(ownSQL, m.steps.snapshots()) }

// standStill disables the operator's own triggers and rules on PEPhub's tables until handBackSQL: one that sets a date on every
// update would change all of them. It also remembers what else is attached to the tables. Tables are locked before
// anything is done to one of them: a lock that is raised later makes deadlocks.
func (m *Migrator) standStill(ctx context.Context, conn *pgconn.PgConn) error {
	if _, err := conn.Exec(ctx, m.standStillSQL()).ReadAll(); err != nil {
		return fmt.Errorf("%w: disable triggers and rules for the time of the migration: %w", ErrStep, err)
	}
	return nil
}

func (m *Migrator) standStillSQL() string {
	return fmt.Sprintf(`
		DO $do$
		DECLARE
			own record;
			tables text;
			attached jsonb := '[]';
		BEGIN
			SELECT string_agg(DISTINCT quote_ident(o.relname), ', ') INTO tables
			FROM (%[1]s) AS o
			WHERE o.kind IN ('TRIGGER', 'RULE') AND o.enabled <> 'D';
			IF tables IS NOT NULL THEN
				EXECUTE 'LOCK TABLE ' || tables || ' IN ACCESS EXCLUSIVE MODE';
			END IF;
			FOR own IN %[1]s LOOP
				attached := attached || to_jsonb(own);
				IF own.kind IN ('TRIGGER', 'RULE') AND own.enabled <> 'D' THEN
					EXECUTE format('ALTER TABLE %%I DISABLE %%s %%I', own.relname, own.kind, own.name);
					RAISE NOTICE '%% %% of table %% stands still during the migration', lower(own.kind), own.name, own.relname;
				END IF;
			END LOOP;
			PERFORM set_config('pephub_migrate.attached', attached::text, true);
		END
		$do$;`, m.attached())
}

// handBackSQL enables triggers and rules again, and fails if a step took something with it that is attached to a table. And it
// lets whoever may use projects use the tables and sequences that were not there before.
func (m *Migrator) handBackSQL(before []string) string {
	made := slices.DeleteFunc(append(m.target.Shape.Names("table"), "schema_migrations", "alembic_version"),
		func(table string) bool { return slices.Contains(before, table) })
	return fmt.Sprintf(`
		DO $do$
		DECLARE
			own record;
			lost text;
			attached jsonb := current_setting('pephub_migrate.attached');
		BEGIN
			SELECT string_agg(format('%%s %%s of table %%s', lower(a.kind), a.name, a.relname), ', ') INTO lost
			FROM jsonb_to_recordset(attached) AS a (kind text, relname text, name text)
			WHERE (a.kind, a.relname, a.name) NOT IN (SELECT o.kind, o.relname, o.name FROM (%[1]s) AS o);
			IF lost IS NOT NULL THEN
				RAISE EXCEPTION 'this of your own would go with a column or a table: %%; drop it, run again, and make it anew where it belongs', lost;
			END IF;
			FOR own IN
				SELECT a.kind, a.relname, a.name, a.enabled
				FROM jsonb_to_recordset(attached) AS a (kind text, relname text, name text, enabled text)
				WHERE a.kind IN ('TRIGGER', 'RULE') AND a.enabled <> 'D'
			LOOP
				EXECUTE format(
					'ALTER TABLE %%I ENABLE %%s %%s %%I',
					own.relname, CASE own.enabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' END, own.kind, own.name
				);
			END LOOP;
			FOR own IN
				SELECT
					made.relname, a.grantee, a.is_grantable,
					CASE WHEN a.grantee = c.relowner THEN 'ALL' ELSE a.privilege_type END AS privilege,
					CASE made.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind
				FROM (VALUES ('r', 'projects'), ('S', 'projects_id_seq')) AS model (relkind, relname)
				JOIN pg_class AS c ON c.oid = to_regclass(model.relname)
				CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) AS a
				JOIN pg_class AS made
					ON made.relnamespace = c.relnamespace
					AND made.relkind::text = model.relkind
					AND regexp_replace(made.relname, '_id_seq$', '') = ANY ('{%[2]s}'::text[])
				WHERE a.grantee <> made.relowner
					AND (a.privilege_type = 'SELECT' OR made.relname NOT IN ('schema_migrations', 'alembic_version'))
			LOOP
				EXECUTE format(
					'GRANT %%s ON %%s %%I TO %%s%%s',
					own.privilege, own.kind, own.relname,
					CASE own.grantee WHEN 0 THEN 'PUBLIC' ELSE own.grantee::regrole::text END,
					CASE WHEN own.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
				);
			END LOOP;
		END
		$do$;`, m.attached(), strings.Join(made, ","))
}
