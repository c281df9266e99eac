package main

import (
	"cmp"
	"context"
	_ "embed" // for the queries
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pephub-migrate/migrations/snapshot"
)

// tables is what the catalogs say of a schema, with the names and types as they are to be
// written.
type tables struct {
	enums  map[string][]string // their values, as literals
	byName map[string]*table
}

type table struct {
	name        string
	columns     []column
	constraints []constraint
	indexes     []index // but for those of the constraints
}

type column struct {
	Table, Name, Type, Default     string
	Sequence                       string // the one that it owns, if it does
	Identity, Generated, Collation string
	NotNull                        bool
}

type constraint struct {
	Table, Name, Kind, Definition string
	Columns                       []string
	References                    string // the table that a foreign key leads to
}

type index struct {
	Table, Name, Definition string
	Columns                 []string // the plain columns that it begins with
	Partial                 bool
}

//go:embed tables.sql
var tablesSQL string

// readTables reads the schema that unqualified names lead to, but for the tables that no
// step makes. It returns an error for what it cannot write down.
func readTables(ctx context.Context, conn *pgx.Conn) (*tables, error) {
	queries := strings.Split(strings.ReplaceAll(tablesSQL, "{{others}}", snapshot.Others), ";\n")
	strange, err := collect[struct{ Object string }](ctx, conn, queries[0])
	if err != nil {
		return nil, err
	}
	if len(strange) > 0 {
		var names []string
		for _, s := range strange {
			names = append(names, s.Object)
		}
		return nil, fmt.Errorf("the database has %s, which this program cannot write into schema.sql; write it there by hand, or drop it", strings.Join(names, ", "))
	}
	enums, err := collect[struct {
		Name   string
		Values []string
	}](ctx, conn, queries[1])
	if err != nil {
		return nil, err
	}
	columns, err := collect[column](ctx, conn, queries[2])
	if err != nil {
		return nil, err
	}
	constraints, err := collect[constraint](ctx, conn, queries[3])
	if err != nil {
		return nil, err
	}
	indexes, err := collect[index](ctx, conn, queries[4])
	if err != nil {
		return nil, err
	}
	read := &tables{enums: map[string][]string{}, byName: map[string]*table{}}
	for _, enum := range enums {
		read.enums[enum.Name] = enum.Values
	}
	for _, c := range columns {
		if read.byName[c.Table] == nil {
			read.byName[c.Table] = &table{name: c.Table}
		}
		c.Type, c.Default = houseType(c.Type), houseDefault(c.Default)
		read.byName[c.Table].columns = append(read.byName[c.Table].columns, c)
	}
	for _, c := range constraints {
		read.byName[c.Table].constraints = append(read.byName[c.Table].constraints, c)
	}
	for _, i := range indexes {
		read.byName[i.Table].indexes = append(read.byName[i.Table].indexes, i)
	}
	return read, nil
}

func collect[T any](ctx context.Context, conn *pgx.Conn, sql string) ([]T, error) {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}

// houseType is a type's short name.
func houseType(name string) string {
	return strings.NewReplacer(
		"character varying", "varchar", "timestamp with time zone", "timestamptz", "timestamp without time zone", "timestamp",
	).Replace(name)
}

var typedLiteral = regexp.MustCompile(`^('(?:[^']|'')*')::[a-z_ ]+(\(\d+\))?(\[\])?$`)

// houseDefault is a default without the cast that PostgreSQL adds to a literal.
func houseDefault(expression string) string {
	return typedLiteral.ReplaceAllString(expression, "$1")
}

// inOrder returns tables in the given order, and then by name, but each right after those
// that it refers to; tables that refer to each other in a circle have no such order.
func (t *tables) inOrder(names []string, order []string) []*table {
	rank := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	names = slices.SortedFunc(slices.Values(names), func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
	var sorted []*table
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if seen[name] || !slices.Contains(names, name) {
			return
		}
		seen[name] = true
		for _, c := range t.byName[name].constraints {
			visit(c.References)
		}
		sorted = append(sorted, t.byName[name])
	}
	for _, name := range names {
		visit(name)
	}
	return sorted
}

// sql returns the statement that makes the table, without its indexes. comments are lines
// to stand above a column.
func (t *table) sql(comments map[string][]string) string {
	type line struct {
		text  string
		above []string
	}
	var lines []line
	inline := map[string]bool{}
	for _, c := range t.columns {
		text := c.sql()
		for _, k := range t.constraints {
			if suffix, ok := k.inline(); ok && k.Columns[0] == c.Name {
				text += " " + suffix
				inline[k.Name] = true
			}
		}
		lines = append(lines, line{text, comments["column "+t.name+"."+c.Name]})
	}
	for _, k := range t.constraints {
		if !inline[k.Name] {
			lines = append(lines, line{text: k.sql()})
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "CREATE TABLE %s (\n", t.name)
	for i, l := range lines {
		for _, comment := range l.above {
			fmt.Fprintf(&text, "    %s\n", comment)
		}
		comma := ","
		if i == len(lines)-1 {
			comma = ""
		}
		fmt.Fprintf(&text, "    %s%s\n", l.text, comma)
	}
	text.WriteString(");\n")
	return text.String()
}

// column returns the column of that name, or nil.
func (t *table) column(name string) *column {
	if t == nil {
		return nil
	}
	for i := range t.columns {
		if t.columns[i].Name == name {
			return &t.columns[i]
		}
	}
	return nil
}

// names returns those of the columns.
func (t *table) names() []string {
	var names []string
	for _, c := range t.columns {
		names = append(names, c.Name)
	}
	return names
}

// key returns the columns of the primary key.
func (t *table) key() []string {
	for _, c := range t.constraints {
		if c.Kind == "p" {
			return c.Columns
		}
	}
	return nil
}

// serial reports whether the column is one, and by which name of a type it is made.
func (c column) serial() (string, bool) {
	name := map[string]string{"smallint": "smallserial", "integer": "serial", "bigint": "bigserial"}[c.Type]
	return name, name != "" && c.Sequence == bare(c.Table)+"_"+bare(c.Name)+"_seq" &&
		strings.HasPrefix(strings.ReplaceAll(c.Default, `"`, ""), "nextval('"+c.Sequence+"'")
}

// sql returns the column as CREATE TABLE has it, without constraints.
func (c column) sql() string {
	if name, ok := c.serial(); ok {
		return c.Name + " " + name // NOT NULL by itself
	}
	text := c.Name + " " + c.Type
	if c.Collation != "" {
		text += " COLLATE " + c.Collation
	}
	if c.NotNull {
		text += " NOT NULL"
	}
	switch {
	case c.Identity == "a":
		text += " GENERATED ALWAYS AS IDENTITY"
	case c.Identity == "d":
		text += " GENERATED BY DEFAULT AS IDENTITY"
	case c.Generated == "s":
		text += " GENERATED ALWAYS AS (" + c.Default + ") STORED"
	case c.Generated == "v":
		text += " GENERATED ALWAYS AS (" + c.Default + ") VIRTUAL"
	case c.Default != "":
		text += " DEFAULT " + c.Default
	}
	return text
}

// fills reports whether a row that has no value for the column gets one by itself.
func (c column) fills() bool { return c.Default != "" || c.Identity != "" }

// defaultName reports whether PostgreSQL would give the constraint its name.
func (c constraint) defaultName() bool {
	suffix := map[string]string{"p": "_pkey", "u": "_key", "f": "_fkey", "x": "_excl"}[c.Kind]
	name := bare(c.Table)
	if c.Kind != "p" {
		for _, column := range c.Columns {
			name += "_" + bare(column)
		}
	}
	return suffix != "" && bare(c.Name) == name+suffix
}

// inline returns the constraint as it stands behind its only column, if it can.
func (c constraint) inline() (string, bool) {
	if len(c.Columns) != 1 || !c.defaultName() {
		return "", false
	}
	switch definition := c.definition(); {
	case c.Kind == "p" && definition == "PRIMARY KEY ("+c.Columns[0]+")":
		return "PRIMARY KEY", true
	case c.Kind == "u" && definition == "UNIQUE ("+c.Columns[0]+")":
		return "UNIQUE", true
	case c.Kind == "f":
		return strings.CutPrefix(definition, "FOREIGN KEY ("+c.Columns[0]+") ")
	}
	return "", false
}

// sql returns the constraint as CREATE TABLE and ALTER TABLE ... ADD have it.
func (c constraint) sql() string {
	if c.defaultName() {
		return c.definition()
	}
	return "CONSTRAINT " + c.Name + " " + c.definition()
}

var referenced = regexp.MustCompile(`( REFERENCES [^ (]+)\(`)

// definition is PostgreSQL's, with a space before the columns of the table that is
// referred to, and one pair of parentheses around a condition.
func (c constraint) definition() string {
	text := referenced.ReplaceAllString(c.Definition, "$1 (")
	if inner, ok := strings.CutPrefix(text, "CHECK (("); ok && strings.HasSuffix(inner, "))") {
		text = "CHECK (" + strings.TrimSuffix(inner, ")")
	}
	return text
}

// sql returns the statement that makes the index.
func (i index) sql() string {
	return strings.Replace(i.Definition, " USING btree (", " (", 1) + ";\n"
}

// unindexed returns, for each foreign key that no index can be followed back by, the
// statement that makes one, by the name that PostgreSQL gives it.
func (t *tables) unindexed(order []string) []string {
	var statements []string
	var names []string
	for name := range t.byName {
		names = append(names, name)
	}
	for _, one := range t.inOrder(names, order) {
		for _, c := range one.constraints {
			if c.Kind == "f" && !one.leads(c.Columns) {
				bare := strings.ReplaceAll(one.name+"_"+strings.Join(c.Columns, "_")+"_idx", `"`, "")
				statements = append(statements, fmt.Sprintf("CREATE INDEX %s ON %s (%s);\n", bare, one.name, strings.Join(c.Columns, ", ")))
			}
		}
	}
	return statements
}

// leads reports whether an index begins with these columns.
func (t *table) leads(columns []string) bool {
	begins := func(with []string) bool {
		return len(with) >= len(columns) && slices.Equal(with[:len(columns)], columns)
	}
	return slices.ContainsFunc(t.constraints, func(c constraint) bool { return (c.Kind == "p" || c.Kind == "u") && begins(c.Columns) }) ||
		slices.ContainsFunc(t.indexes, func(i index) bool { return !i.Partial && begins(i.Columns) })
}

// bare is a name without quotes, as the parser has it.
func bare(name string) string { return strings.Trim(name, `"`) }

// find returns the table of that name, without quotes, or nil.
func (t *tables) find(name string) *table {
	for quoted, one := range t.byName {
		if bare(quoted) == name {
			return one
		}
	}
	return nil
}

// find returns the column of that name, without quotes, or nil.
func (t *table) find(name string) *column {
	for i := range t.columns {
		if bare(t.columns[i].Name) == name {
			return &t.columns[i]
		}
	}
	return nil
}

// owns reports whether a sequence belongs to a column.
func (t *tables) owns(sequence string) bool {
	for _, one := range t.byName {
		if slices.ContainsFunc(one.columns, func(c column) bool { return c.Sequence == sequence }) {
			return true
		}
	}
	return false
}

// ofIndex returns the table of an index of that name, without quotes, or nil.
func (t *tables) ofIndex(name string) *table {
	for _, one := range t.byName {
		if slices.ContainsFunc(one.indexes, func(i index) bool { return bare(i.Name) == name }) ||
			slices.ContainsFunc(one.constraints, func(c constraint) bool { return bare(c.Name) == name }) {
			return one
		}
	}
	return nil
}
