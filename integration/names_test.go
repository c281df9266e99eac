package integration

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/migrator"
	"pephub-migrate/migrations"
)

// plantSQL makes an overload of every function and operator of PostgreSQL's by these
// names, and those of CVE-2018-1058, whose types fit a catalog's columns better. Each
// counts its calls, which a rollback does not undo.
const plantSQL = `
	DO $do$
	DECLARE
		f record;
		number integer := 0;
	BEGIN
		FOR f IN
			SELECT p.oid, p.proname, pg_get_function_identity_arguments(p.oid) AS arguments, p.proretset, p.prorettype::regtype AS result
			FROM pg_catalog.pg_proc AS p
			WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype
				AND p.proname ~ '^(set_config|current_setting|current_schemas?|quote_ident|to_reg.*|unnest|array_.*|starts_with|substr.*|replace|regexp_.*|format_type|pg_get_expr|pg_.*advisory.*|pg_is_in_recovery|pg_size_bytes|query_to_xml|pg_table_size|version|length|encode|sha256|convert_to|chr|parse_ident|split_part|pg_identify.*|pg_has_role|pg_get_userbyid)$'
		LOOP
			BEGIN
				EXECUTE format(
					'CREATE FUNCTION %1$I.%2$I(%3$s) RETURNS %4$s %5$s LANGUAGE plpgsql AS %6$L',
					{{schema}}, f.proname, f.arguments, CASE WHEN f.proretset THEN 'SETOF' ELSE '' END, f.result,
					'BEGIN PERFORM pg_catalog.nextval(''public.planted''); RETURN' || CASE WHEN f.proretset THEN '' ELSE ' NULL' END || '; END'
				);
			EXCEPTION WHEN OTHERS THEN NULL;
			END;
		END LOOP;
		FOR f IN
			SELECT o.oprname, o.oprleft::regtype AS l, o.oprright::regtype AS r, o.oprresult::regtype AS result
			FROM pg_catalog.pg_operator AS o
			WHERE o.oprleft <> 0 AND o.oprname IN ('=', '<>', '<', '>', '||', '~', '!~', '~*', '~~', '!~~')
			UNION ALL
			SELECT o, l::regtype, r::regtype, CASE o WHEN '||' THEN 'text'::regtype ELSE 'boolean'::regtype END
			FROM unnest('{=,<>,||}'::text[]) AS o, unnest('{varchar,name,text}'::text[]) AS l, unnest('{varchar,name,text}'::text[]) AS r
		LOOP
			number := number + 1;
			BEGIN
				EXECUTE format(
					'CREATE FUNCTION %1$I.planted_%2$s(%3$s, %4$s) RETURNS %5$s LANGUAGE plpgsql AS %6$L;
					CREATE OPERATOR %1$I.%7$s (FUNCTION = %1$I.planted_%2$s, LEFTARG = %3$s, RIGHTARG = %4$s)',
					{{schema}}, number, f.l, f.r, f.result, 'BEGIN PERFORM pg_catalog.nextval(''public.planted''); RETURN NULL; END', f.oprname
				);
			EXCEPTION WHEN OTHERS THEN NULL;
			END;
		END LOOP;
		EXECUTE format('CREATE FUNCTION %I.quote_ident(name) RETURNS text LANGUAGE plpgsql AS %L',
			{{schema}}, 'BEGIN PERFORM pg_catalog.nextval(''public.planted''); RETURN NULL; END');
	END
	$do$`

// Whatever others have put where the names of a session lead, a superuser who looks runs
// none of it.
func TestLooksRunNothingPlanted(t *testing.T) {
	for name, files := range map[string][]string{"at the newest step": nil, "at an older step": v0111} {
		t.Run(name, func(t *testing.T) {
			db := newDatabase(t, files...)
			if files == nil {
				upgradeInProcess(t, db)
			}
			conn := connect(t, db)
			user := query(t, conn, "SELECT quote_ident(current_user)")[0]
			execute(t, conn, "CREATE SEQUENCE public.planted; CREATE SCHEMA "+user)
			for _, schema := range []string{"'public'", "current_user"} {
				execute(t, conn, strings.ReplaceAll(plantSQL, "{{schema}}", schema))
			}
			execute(t, conn, `ALTER DATABASE `+db+` SET search_path = "$user", public, pg_catalog`)
			calls := func() string {
				return query(t, conn, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END::text FROM public.planted")[0]
			}
			for _, action := range []string{config.Check, config.Wait, config.Plan, config.Up} {
				if action == config.Up && files != nil {
					continue // it runs the steps, which is no look
				}
				err := actOn(t, connect(t, db), action)
				if files == nil && err != nil || files != nil && action != config.Plan && !errors.Is(err, migrator.ErrPending) {
					t.Errorf("%s: %v", action, err)
				}
				if got := calls(); got != "0" {
					t.Fatalf("%s has called what was planted %s times", action, got)
				}
			}
			for _, call := range []string{
				"quote_ident('a'::name)", "set_config('a.b', '', true)", "'a'::varchar || 'b'::varchar", "'a'::varchar = 'b'::varchar", "1 = 2",
			} {
				before := calls()
				if _, err := connect(t, db).Exec(context.Background(), "SELECT "+call); err != nil || calls() == before {
					t.Errorf("%s is not planted: %v", call, err)
				}
			}
		})
	}
}

// A pooled session may have temporary tables by the names of PEPhub's. They are nobody's.
func TestTemporaryTablesAreIgnored(t *testing.T) {
	const newest = `
		CREATE TEMPORARY TABLE projects (id integer);
		CREATE TEMPORARY TABLE schema_migrations (version bigint, dirty boolean); INSERT INTO schema_migrations VALUES (15, false);
		CREATE TEMPORARY TABLE alembic_version (version_num varchar(32)); INSERT INTO alembic_version VALUES ('8a037f13b4e5')`
	for name, path := range map[string]string{"implicit": "public", "first": "pg_temp, public", "no other": "pg_temp"} {
		t.Run(name, func(t *testing.T) {
			db := newDatabase(t, v0111...)
			conn := connect(t, db)
			execute(t, conn, newest+"; SET search_path = "+path)
			want := migrator.ErrPending
			if path == "pg_temp" {
				want = migrator.ErrUnrecognised
			}
			if err := actOn(t, conn, config.Check); !errors.Is(err, want) {
				t.Errorf("check: %v", err)
			}
			if path == "pg_temp" {
				return
			}
			if err := actOn(t, conn, config.Up); err != nil {
				t.Fatal(err)
			}
			wantNewest(t, db)
			wantRows(t, db, "SELECT version::text FROM public.schema_migrations", "15")
		})
	}
}

// actOn makes one attempt on a connection that is there.
func actOn(t *testing.T, conn *pgx.Conn, action string) error {
	t.Helper()
	cfg := config.Config{Action: action, Server: fixed(&conn.Config().Config), WaitTimeout: time.Second, LockTimeout: time.Second}
	steps, err := migrator.New(migrations.FS, cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	attempt := map[string]func(context.Context) error{
		config.Check: func(ctx context.Context) error { _, err := steps.Check(ctx, conn.PgConn()); return err },
		config.Wait:  func(ctx context.Context) error { _, err := steps.Wait(ctx, conn.PgConn()); return err },
		config.Plan:  func(ctx context.Context) error { _, err := steps.Plan(ctx, conn.PgConn()); return err },
		config.Up:    func(ctx context.Context) error { _, err := steps.Migrate(ctx, conn.PgConn()); return err },
	}[action]
	return attempt(context.Background())
}
