package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/migrator"
	"pephub-migrate/migrations"
)

// What a step after the one described brings, no release has filled, and content.go does
// not know. So it is filled by what the catalogs say of it, and held against itself, row
// by row: there and back again, nothing is lost unless it is said. Steps 13 and 15 stand
// this too; 14 and those before 13 have their reasons to give back something else than
// what was there.
func TestLaterSteps(t *testing.T) {
	for _, from := range []int{12, 14} {
		for seed := range 2 + *rounds {
			t.Run(fmt.Sprintf("from %s/%d", releases[from-1], seed), func(t *testing.T) {
				t.Parallel()
				db := newDatabase(t, "pepdbagent-"+releases[from-1]+".sql")
				conn := connect(t, db)
				execute(t, conn, generate(from, 2000+seed, from)+severalLines)
				mustMove(t, conn, config.Config{Action: config.Up, Target: from}) // puts it on record
				for _, step := range loadSteps(t)[from:] {
					if step.Number == 14 || !t.Run(step.Name, func(t *testing.T) { thereAndBack(t, conn, db, step.Number) }) {
						break
					}
				}
			})
		}
	}
}

// severalLines makes one text in two more of a text than the generator does, where
// nothing but people read it.
const severalLines = `
	DO $$
	DECLARE
		c record;
	BEGIN
		FOR c IN
			SELECT attrelid::regclass AS of, attname FROM pg_attribute
			WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r')
				AND attnum > 0 AND atttypid = 'varchar'::regtype AND NOT attnotnull
				AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = attrelid AND attnum = ANY (conkey))
		LOOP
			EXECUTE format('UPDATE %s SET %I = concat(%2$I, chr(10), ''second'', chr(10)) WHERE md5(ctid::text) > ''8''', c.of, c.attname);
		END LOOP;
	END
	$$;`

func mustMove(t *testing.T, conn *pgx.Conn, cfg config.Config) {
	t.Helper()
	if err := runOn(t, migrations.FS, conn, cfg); err != nil {
		t.Fatalf("%s to step %d: %v", cfg.Action, cfg.Target, err)
	}
}

// thereAndBack goes from the step below up to a step and back, with what was there, and
// with more than that. It ends at the step, with all of it filled.
func thereAndBack(t *testing.T, conn *pgx.Conn, db string, step int) {
	up, down := config.Config{Action: config.Up, Target: step}, config.Config{Action: config.Down, Target: step - 1}
	before := readTables(t, conn)
	mustMove(t, conn, up)
	plain := readTables(t, conn)
	mustMove(t, conn, down)
	sameTables(t, "the way back did not restore this", before, readTables(t, conn))
	mustMove(t, conn, up)
	sameTables(t, "the second way up made something else", plain, readTables(t, conn))

	for _, text := range []string{" text", " é ☃ ' \" \\\nsecond line"} {
		fillNew(t, conn, before, text)
		filled, full := readTables(t, conn), dump(t, db)
		err := runOn(t, migrations.FS, conn, down)
		if err == nil {
			mustMove(t, conn, up)
			sameTables(t, "the way back lost this without a word: it is to refuse, unless pephub_migrate.allow_data_loss is true",
				filled, readTables(t, conn))
			continue
		}
		if !errors.Is(err, migrator.ErrStep) || !strings.Contains(err.Error(), "MIGRATE_ALLOW_DATA_LOSS") {
			t.Fatalf("the way back is refused without the hint of MIGRATE_ALLOW_DATA_LOSS: %v", err)
		}
		t.Logf("refused: %v", err)
		wantUnchanged(t, db, full)
		lossy := down
		lossy.AllowDataLoss = true
		mustMove(t, conn, lossy)
		sameTables(t, "MIGRATE_ALLOW_DATA_LOSS=true lost what the step below can hold", untouched(before, plain, before),
			untouched(before, plain, readTables(t, conn)))
		mustMove(t, conn, up)
		fillNew(t, conn, before, text)
	}
}

// tables are all rows of all tables, and where every sequence is. The order of neither
// rows nor columns matters.
type tables map[string]tableRows

// tableRows are the values of each row by column, as text.
type tableRows []map[string]string

// only returns the rows with some of the columns, in alphabetical order.
func (r tableRows) only(columns []string) []string {
	var lines []string
	for _, row := range r {
		var line string
		for _, column := range columns {
			line += column + "=" + quoted(row[column]) + " "
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

func (r tableRows) columns() []string {
	if len(r) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(r[0]))
}

func readTables(t *testing.T, conn *pgx.Conn) tables {
	t.Helper()
	all := tables{}
	for _, name := range query(t, conn, `
		SELECT quote_ident(relname) FROM pg_class
		WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'S')
			AND relname NOT IN ('schema_migrations', 'alembic_version')`) {
		columns := query(t, conn, `
			SELECT attname FROM pg_attribute
			WHERE attrelid = '`+name+`'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'log_cnt'`)
		var list []string
		for _, column := range columns {
			list = append(list, pgx.Identifier{column}.Sanitize())
		}
		all[name] = tableRows{}
		for _, cells := range rows(t, conn, "SELECT "+strings.Join(list, ", ")+" FROM "+name) {
			row := map[string]string{}
			for i, cell := range cells {
				row[columns[i]] = cell
			}
			all[name] = append(all[name], row)
		}
	}
	return all
}

// sameTables fails the test, and says why, unless both hold the same.
func sameTables(t *testing.T, why string, want, got tables) {
	t.Helper()
	everything := func(all tables) string {
		var lines []string
		for _, name := range slices.Sorted(maps.Keys(all)) {
			lines = append(lines, name)
			for _, line := range all[name].only(all[name].columns()) {
				lines = append(lines, name+": "+line)
			}
		}
		return strings.Join(lines, "\n")
	}
	if was, is := everything(want), everything(got); was != is {
		t.Fatalf("%s:\n%s", why, diff(was, is))
	}
}

// untouched leaves, of a database at the step below, the columns that a step has not
// moved: what is in them before it, and in plain, after it.
func untouched(before, plain, all tables) tables {
	left := tables{}
	for name, rows := range before {
		for _, column := range rows.columns() {
			if !slices.Equal(rows.only([]string{column}), plain[name].only([]string{column})) {
				continue
			}
			if left[name] == nil {
				left[name] = make(tableRows, len(all[name]))
			}
			for i, row := range all[name] {
				if left[name][i] == nil {
					left[name][i] = map[string]string{}
				}
				left[name][i][column] = row[column]
			}
		}
	}
	return left
}

// newColumn is a column that a step has added.
type newColumn struct {
	name, kind string
	labels     []string // of an enum, or of an array of such
	parent     string   // an expression for a value of the table that it refers to, in the row in the place %d
	required   bool
}

// newColumns returns those columns that were not there before, by their tables. Some fill
// themselves.
func newColumns(t *testing.T, conn *pgx.Conn, before tables) map[string][]newColumn {
	t.Helper()
	list := map[string][]newColumn{}
	for _, row := range rows(t, conn, `
		SELECT quote_ident(c.relname), a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull AND NOT a.atthasdef,
			(SELECT string_agg(enumlabel, E'\n' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid IN (y.oid, y.typelem)),
			(
				SELECT format('(SELECT %I FROM %s ORDER BY ctid OFFSET %%[1]d %%%% (SELECT greatest(count(*), 1) FROM %2$s) LIMIT 1)',
					p.attname, f.confrelid::regclass)
				FROM pg_constraint AS f
				JOIN pg_attribute AS p ON p.attrelid = f.confrelid AND p.attnum = f.confkey[array_position(f.conkey, a.attnum)]
				WHERE f.conrelid = c.oid AND f.contype = 'f'
				LIMIT 1
			)
		FROM pg_class AS c
		JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		JOIN pg_type AS y ON y.oid = a.atttypid
		LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
			AND c.relname NOT IN ('schema_migrations', 'alembic_version') AND a.attgenerated = '' AND a.attidentity = ''
			AND pg_get_expr(d.adbin, d.adrelid) NOT LIKE 'nextval(%' IS NOT FALSE
		ORDER BY a.attnum`) {
		column := newColumn{name: pgx.Identifier{row[1]}.Sanitize(), kind: row[2], required: row[3] == "t"}
		if row[4] != null {
			column.labels = strings.Split(row[4], "\n")
		}
		if row[5] != null {
			column.parent = row[5]
		}
		if there, ok := before[row[0]]; !ok || len(there) > 0 && !slices.Contains(there.columns(), row[1]) {
			list[row[0]] = append(list[row[0]], column)
		}
	}
	return list
}

// fillNew writes to whatever was not there before; a text ends with that. Every fourth
// row keeps its defaults.
func fillNew(t *testing.T, conn *pgx.Conn, before tables, text string) {
	t.Helper()
	columns := newColumns(t, conn, before)
	attempt := func(sql string) error {
		_, err := conn.PgConn().Exec(context.Background(), sql).ReadAll()
		return err
	}
	later := slices.Sorted(maps.Keys(columns))
	for range columns { // a new table may refer to another
		list := later
		later = nil
		for _, table := range list {
			if _, ok := before[table]; ok {
				updateRows(t, conn, attempt, table, columns[table], text)
			} else if err := insertRows(t, conn, attempt, table, columns[table], text); err != nil {
				later = append(later, table)
			}
		}
	}
	for _, table := range later {
		t.Logf("%s stays empty: %v", table, insertRows(t, conn, attempt, table, columns[table], text))
	}
}

func updateRows(t *testing.T, conn *pgx.Conn, attempt func(string) error, table string, columns []newColumn, text string) {
	t.Helper()
	for i, row := range query(t, conn, "SELECT ctid FROM "+table+" ORDER BY ctid") {
		if i%4 == 3 {
			continue
		}
		var set []string
		for _, column := range columns {
			set = append(set, column.name+" = "+column.value(t, attempt, i, text))
		}
		write := func(set []string) error {
			return attempt("UPDATE " + table + " SET " + strings.Join(set, ", ") + " WHERE ctid = '" + row + "'")
		}
		if err := write(set); err != nil { // a CHECK of one of them, say
			t.Logf("a row of %s keeps a part of what the step has put there: %v", table, err)
			for k := range set {
				if write(slices.Concat(set[:k], set[k+1:])) == nil {
					break
				}
			}
		}
	}
}

func insertRows(t *testing.T, conn *pgx.Conn, attempt func(string) error, table string, columns []newColumn, text string) (err error) {
	t.Helper()
	for i := range 4 {
		var names, values []string
		for _, column := range columns {
			if i < 3 || column.required {
				names, values = append(names, column.name), append(values, column.value(t, attempt, i, text))
			}
		}
		sql := "INSERT INTO " + table + " DEFAULT VALUES"
		if len(names) > 0 {
			sql = "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(values, ", ") + ")"
		}
		err = errors.Join(err, attempt(sql))
	}
	if len(query(t, conn, "SELECT 1 FROM "+table+" LIMIT 1")) > 0 {
		return nil
	}
	return err
}

// value is an expression for the value of a column in the row with a number: the first
// text that its type takes.
func (c newColumn) value(t *testing.T, attempt func(string) error, i int, text string) string {
	t.Helper()
	if c.parent != "" {
		return fmt.Sprintf(c.parent, i)
	}
	number, date := strconv.Itoa(i+1), time.Date(2024, 1, 1+i, 3, 4, 5, 6000, time.UTC)
	day := date.Format(time.DateOnly)
	candidates := []string{
		number + text, `{"n": ` + number + `}`, number, "true", "{" + number + "}", "{true}",
		date.Format("2006-01-02 15:04:05.999999"), "{" + day + "}",
		fmt.Sprintf("00000000-0000-4000-8000-%012d", i), "[0," + number + ")", "{[0," + number + ")}", "[2023-12-31," + day + ")",
		fmt.Sprintf("10.0.%d.%d", i/256, i%256), fmt.Sprintf("%012x", i),
		"(1," + number + ")", "((0,0),(1," + number + "))", fmt.Sprintf("%08b", i%256),
	}
	if len(c.labels) > 0 {
		label := c.labels[i%len(c.labels)]
		candidates = []string{label, "{" + label + "}"}
	}
	for _, candidate := range candidates {
		value := "CAST(" + literal(candidate) + " AS " + c.kind + ")"
		if attempt("SELECT "+value) == nil {
			return value
		}
	}
	t.Logf("the column %s keeps its default: no value for its type %s is known here", c.name, c.kind)
	return "DEFAULT"
}
