package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pephub-migrate/internal/config"
)

// attacher makes statements that attach something to a database, or set something in it.
type attacher struct {
	*rand.Rand
	tables      []string
	columns     [][]string // table, column
	constraints [][]string // table, constraint, its type, names and definitions of its columns
	indexes     [][]string // table, index, whether it can tell rows apart
	sequences   []string
	checks      [][]string // table, trigger of a foreign key
	number      int
}

func newAttacher(t *testing.T, conn *pgx.Conn, seed uint64) *attacher {
	t.Helper()
	return &attacher{
		Rand:   rand.New(rand.NewPCG(seed, 15)),
		tables: tableNames(t, conn),
		columns: rows(t, conn, `
			SELECT c.oid::regclass, quote_ident(a.attname)
			FROM pg_class AS c
			JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
			ORDER BY c.relname, a.attnum`),
		constraints: rows(t, conn, `
			SELECT k.conrelid::regclass, quote_ident(k.conname), k.contype,
				string_agg(quote_ident(a.attname), ', ' ORDER BY x.n),
				string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY x.n)
			FROM pg_constraint AS k
			CROSS JOIN LATERAL unnest(k.conkey) WITH ORDINALITY AS x (key, n)
			JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = x.key
			WHERE k.connamespace = 'public'::regnamespace AND k.contype IN ('p', 'u', 'f')
			GROUP BY k.oid
			ORDER BY 1, 2`),
		indexes: rows(t, conn, `
			SELECT i.indrelid::regclass, i.indexrelid::regclass, i.indisunique
			FROM pg_index AS i
			JOIN pg_class AS c ON c.oid = i.indrelid
			WHERE c.relnamespace = 'public'::regnamespace
			ORDER BY 1, 2`),
		sequences: query(t, conn, "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' ORDER BY relname"),
		checks: rows(t, conn, `
			SELECT g.tgrelid::regclass, quote_ident(g.tgname)
			FROM pg_trigger AS g
			JOIN pg_constraint AS k ON k.oid = g.tgconstraint
			JOIN pg_proc AS p ON p.oid = g.tgfoid
			WHERE g.tgisinternal
			ORDER BY k.conname, p.proname`),
	}
}

func pick[T any](a *attacher, list []T) T { return list[a.IntN(len(list))] }

func (a *attacher) role() string {
	return pick(a, []string{"deck_reader", "deck_writer", "deck_second", "deck_column", "PUBLIC"})
}

// two returns a table and two of its columns.
func (a *attacher) two() (table, one, other string) {
	column := pick(a, a.columns)
	others := slices.DeleteFunc(slices.Clone(a.columns), func(c []string) bool { return c[0] != column[0] || c[1] == column[1] })
	return column[0], column[1], pick(a, others)[1]
}

// statement makes one. Not every one is possible.
func (a *attacher) statement() string {
	a.number++
	own := fmt.Sprint("own_", a.number)
	table, one, other := a.two()
	constraint, index, sequence := pick(a, a.constraints), pick(a, a.indexes), pick(a, a.sequences)
	number := 10 + a.IntN(60)
	switch a.IntN(30) {
	case 0:
		return fmt.Sprintf("COMMENT ON TABLE %s IS '%d'", table, number)
	case 1:
		return fmt.Sprintf("COMMENT ON COLUMN %s.%s IS '%d'", table, one, number)
	case 2:
		return fmt.Sprintf("COMMENT ON CONSTRAINT %s ON %s IS '%d'", constraint[1], constraint[0], number)
	case 3:
		return fmt.Sprintf("COMMENT ON INDEX %s IS '%d'", index[1], number)
	case 4:
		return fmt.Sprintf("COMMENT ON SEQUENCE %s IS '%d'", sequence, number)
	case 5, 6:
		return a.grant(table)
	case 7:
		if strings.HasPrefix(table, "schema_group") {
			return ""
		}
		return fmt.Sprintf("GRANT %s (%s) ON %s TO %s", pick(a, []string{"SELECT", "UPDATE", "INSERT"}), one, table, a.role())
	case 8:
		return fmt.Sprintf("GRANT %s ON SEQUENCE %s TO %s", pick(a, []string{"SELECT", "USAGE"}), sequence, a.role())
	case 9:
		return fmt.Sprintf("CREATE POLICY %s ON %s USING (%s IS NOT NULL)", own, table, one)
	case 10:
		return fmt.Sprintf("ALTER TABLE %s ENABLE ROW LEVEL SECURITY", table)
	case 11:
		return fmt.Sprintf(`
			CREATE FUNCTION %[1]s() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''a trigger ran''; END';
			CREATE TRIGGER %[1]s BEFORE %[4]s ON %[2]s FOR EACH ROW EXECUTE FUNCTION %[1]s();
			ALTER TABLE %[2]s %[3]s TRIGGER %[1]s`,
			own, table, pick(a, []string{"ENABLE", "ENABLE ALWAYS", "DISABLE"}), pick(a, []string{"INSERT OR UPDATE", "DELETE", "UPDATE OF " + one}))
	case 12:
		return fmt.Sprintf("CREATE RULE %s AS ON UPDATE TO %s WHERE OLD.%s IS NULL DO ALSO NOTHING", own, table, one)
	case 13, 14:
		return fmt.Sprintf("CREATE INDEX %s ON %s (%s DESC) INCLUDE (%s) WITH (fillfactor = %d)", own, table, one, other, number)
	case 15:
		return fmt.Sprintf("CREATE INDEX %s ON %s (length(%s::text)) TABLESPACE deck_space WHERE %s IS NOT NULL; ALTER INDEX %[1]s ALTER COLUMN 1 SET STATISTICS %[5]d",
			own, table, one, other, number)
	case 16:
		return fmt.Sprintf("CREATE STATISTICS %s ON %s, %s FROM %s; ALTER STATISTICS %[1]s SET STATISTICS %[5]d", own, one, other, table, number)
	case 17:
		return fmt.Sprintf("CREATE VIEW %s AS SELECT %s, %s FROM %s; GRANT SELECT ON %[1]s TO deck_reader", own, one, other, table)
	case 18:
		if constraint[2] == "f" {
			return ""
		}
		return fmt.Sprintf("CREATE TABLE %s (%s, CONSTRAINT %[1]s_fkey FOREIGN KEY (%[3]s) REFERENCES %[4]s (%[3]s)); COMMENT ON CONSTRAINT %[1]s_fkey ON %[1]s IS '%[5]d'",
			own, constraint[4], constraint[3], constraint[0], number)
	case 19:
		return fmt.Sprintf("ALTER TABLE %s SET (fillfactor = %d)", table, number)
	case 20:
		return fmt.Sprintf("ALTER TABLE %s ALTER %s SET STATISTICS %d", table, one, number)
	case 21:
		return fmt.Sprintf("ALTER TABLE %s ALTER %s SET (n_distinct = %d)", table, one, number)
	case 22:
		return fmt.Sprintf("ALTER TABLE %s ALTER %s SET STORAGE EXTERNAL", table, one)
	case 23:
		return fmt.Sprintf("ALTER INDEX %s SET (fillfactor = %d)", index[1], number)
	case 24:
		return fmt.Sprintf("ALTER SEQUENCE %s CACHE %d INCREMENT 2", sequence, number)
	case 25:
		return fmt.Sprintf("CREATE PUBLICATION %s FOR TABLE %s WITH (publish = 'insert')", own, table)
	case 26:
		if index[2] == "t" && a.oneIn(2) {
			return fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s", index[0], index[1])
		}
		return fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY %s", table, pick(a, []string{"FULL", "NOTHING"}))
	case 27:
		return fmt.Sprintf("ALTER TABLE %s CLUSTER ON %s", index[0], index[1])
	case 28:
		return fmt.Sprintf("ALTER TABLE %s SET TABLESPACE deck_space", table)
	default:
		if len(a.checks) == 0 || a.oneIn(3) {
			return "ALTER DEFAULT PRIVILEGES FOR ROLE deck_owner GRANT SELECT ON TABLES TO PUBLIC, deck_stranger"
		}
		check := pick(a, a.checks)
		return fmt.Sprintf("ALTER TABLE %s %s TRIGGER %s", check[0], pick(a, []string{"DISABLE", "ENABLE REPLICA", "ENABLE ALWAYS"}), check[1])
	}
}

func (a *attacher) oneIn(n int) bool { return a.IntN(n) == 0 }

// grant makes one on a table. A group in 0.11 is two tables, and what one alone may have
// is nobody's after it.
func (a *attacher) grant(table string) string {
	if strings.HasPrefix(table, "schema_group") {
		table = "schema_groups, schema_group_relations"
	}
	option := ""
	role := a.role()
	if role != "PUBLIC" && a.oneIn(3) {
		option = " WITH GRANT OPTION"
	}
	return fmt.Sprintf("GRANT %s ON %s TO %s%s", pick(a, []string{"SELECT", "INSERT", "UPDATE", "DELETE", "SELECT, INSERT", "ALL"}), table, role, option)
}

// Whatever is attached, to a database of whatever release: either it stays or goes where
// the steps say, or it is named, and then the upgrade goes through once the remedies that
// were named are taken. The way back gives it all back.
func TestRandomAttachments(t *testing.T) {
	t.Parallel()
	makeSpace(t)
	place := newCrowd(t)
	for seed := range 8 * *rounds {
		release := releases[rand.New(rand.NewPCG(seed, 4)).IntN(len(releases)-1)]
		t.Run(fmt.Sprintf("%d_%s", seed, release), func(t *testing.T) {
			t.Parallel()
			place := crowd{place.Container, t}
			step := slices.Index(releases, release) + 1
			plain := newTwin(t, place, release, 21)
			db, conn := deckDatabase(t, "", release, 21)
			var done []string
			for a := newAttacher(t, conn, seed); len(done) < 15; {
				statement := a.statement()
				if _, err := conn.PgConn().Exec(context.Background(), statement).ReadAll(); err == nil && statement != "" {
					done = append(done, statement)
				}
			}
			defer func() {
				if t.Failed() {
					t.Logf("seed %d; attached was:\n%s", seed, strings.Join(done, ";\n"))
				}
			}()
			added, removed, ok := upgradeByRemedies(t, place, db, conn, plain)
			if !ok {
				return
			}
			follow(step, added).want(t, plain.after, readFacts(t, conn), removed)
			o := place.act(environment(db, "MIGRATE_TARGET", strconv.Itoa(step)), config.Down)[config.Down]
			if o.code == 0 {
				wantBack(t, plain, added, removed, readFacts(t, conn))
			} else if o.wantRefused(t); o.names("index") { // on an expression of a column that gets its old type back
				o.takeRemedies(t, conn)
				if o := place.act(environment(db, "MIGRATE_TARGET", strconv.Itoa(step)), config.Down)[config.Down]; o.code != 0 {
					t.Errorf("the way back: exit code %d: %s", o.code, o.lastLine())
				}
			}
		})
	}
}

// upgradeByRemedies upgrades a database, and takes the remedies that the log names, until
// there are none. It returns what was attached to it at the end.
func upgradeByRemedies(t *testing.T, place crowd, db string, conn *pgx.Conn, plain twin) (added, removed facts, ok bool) {
	t.Helper()
	for range 4 {
		before := readFacts(t, conn)
		added, removed = before.beyond(plain.before)
		o := place.act(environment(db), config.Up)[config.Up]
		if o.code == 0 {
			return added, removed, true
		}
		if o.wantRefused(t); t.Failed() {
			return nil, nil, false
		}
		if after := readFacts(t, conn); after.String() != before.String() {
			t.Errorf("it has changed:\n%s", diff(before.String(), after.String()))
			return nil, nil, false
		}
		o.takeRemedies(t, conn)
	}
	t.Error("the remedies do not help")
	return nil, nil, false
}
