package migrator

import (
	"cmp"
	_ "embed" // for attached.sql
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/postgres"
)

// attachedSQL is the query for what operators have attached to PEPhub's tables: the
// columns of attachment.
//
//go:embed attached.sql
var attachedSQL string

// ErrAttached means that the steps would lose what an operator has attached to PEPhub's
// tables, or rows that cannot be told apart. Nothing was done.
var ErrAttached = errors.New("the migration would lose what is attached to PEPhub's tables, or cannot be done with it; nothing was done")

// ErrPlanted means that a role with fewer rights than the login role has put something
// into the database that the migration could run. Nothing was done.
var ErrPlanted = errors.New("the migration could run what a role with fewer rights has put there; nothing was done")

// attachment is one fact that the catalogs know of a table and that is no part of
// PEPhub's shape: a row of attached.sql.
type attachment struct {
	kind       string // the name of one of the kinds
	table      string // or the enum
	column     string
	name       string
	on         string
	definition string
	columns    string // the columns that it needs, joined by commas
	may        bool   // whether the role of the login may make it anew
	owner      string // the role that may, where that is another than the owner of the table
}

// respelt stands for a definition that the server may write in other words once a column
// has another type.
const respelt = "*"

// String is the line of text by which attachments are compared.
func (a attachment) String() string {
	return strings.Join([]string{a.kind, a.table, a.column, a.name, a.on, a.definition}, "|")
}

// needs returns the columns that the attachment needs, the one that it is on included.
func (a attachment) needs() []string {
	columns := strings.FieldsFunc(a.columns, func(r rune) bool { return r == ',' })
	if a.column != "" && a.kind != "index statistics" {
		columns = append(columns, a.column)
	}
	return columns
}

// kind is a kind of attachment. In its texts {schema}, {table}, {column}, {name}, {on}
// and {definition} stand for what the attachment has, each as an SQL identifier or
// literal, and {T} for the table with its schema.
type kind struct {
	name   string
	object string // what a message calls it
	remove string // the statement by which an operator takes it away
	make   string // the statement that makes it, or "" if there is none that always does
	aside  string // the statement that takes it out of the way of the steps, if it has to be

	attaches bool // make restores its state, and cannot make it on another table
	spreads  bool // a new table takes it from the table that its rows come from
	again    bool // a step, or PostgreSQL for a step, may make what it is on anew, and forget it
	login    bool // it needs the rights of the login role, which may exceed those of the tables' owner
}

// kinds are the kinds of attachments, in the order in which they are put back.
var kinds = []kind{
	{name: "child", object: "table {name}, which inherits from {table} or is a partition of it", remove: "ALTER TABLE {name} NO INHERIT {T}"},
	{name: "parent", object: "table {name}, from which {table} inherits or of which it is a partition", remove: "ALTER TABLE {T} NO INHERIT {name}"},
	{name: "type of table", object: "type {name}, of which {table} is a table", remove: "ALTER TABLE {T} NOT OF"},
	{
		name: "forced row security", object: "forced row level security on table {table}, which hides rows from the migration",
		remove: "ALTER TABLE {T} NO FORCE ROW LEVEL SECURITY",
	},
	{name: "policy", object: "policy {name} on table {table}", remove: "DROP POLICY {name} ON {T}"},
	{name: "index", object: "index {name} on table {table}", remove: "DROP INDEX {schema}.{name}"},
	{name: "expression index", object: "index {name} on table {table}", remove: "DROP INDEX {schema}.{name}"},
	{name: "index form", object: "index {name} on table {table}, which is not as PEPhub makes it", remove: "make it as PEPhub does: without INCLUDE, an order, or an operator class of its own"},
	{name: "statistics", object: "statistics {name} on table {table}", remove: "DROP STATISTICS {name}"},
	{name: "expression statistics", object: "statistics {name} on table {table}", remove: "DROP STATISTICS {name}"},
	{name: "subscription", object: "subscription {name} to table {table}", remove: "ALTER SUBSCRIPTION {name} REFRESH PUBLICATION, once the publication is without the table"},
	{name: "extension", object: "membership of table {table} in extension {name}", remove: "ALTER EXTENSION {name} DROP TABLE {T}"},
	{name: "dependent", object: "{name}, which uses table {table}", remove: "{definition}"},
	{name: "row type user", object: "{name}, which uses the row type of table {table}", remove: "{definition}"},
	{name: "row type column", object: "{name}, which uses the row type of table {table}", remove: "{definition}"},
	{name: "type user", object: "{name}, which uses type {table}", remove: "{definition}"},
	{name: "key user", object: "{definition}, which needs constraint {name} of table {table}", remove: "drop {definition}"},
	{
		name: "not null comment", object: "comment on the constraint {name} of column {table}.{column}",
		remove: "COMMENT ON CONSTRAINT {name} ON {T} IS NULL",
	},
	{
		name: "enum owner", object: "owner {definition} of type {table}", remove: "ALTER TYPE {T} OWNER TO CURRENT_USER",
		make: "ALTER TYPE {T} OWNER TO {definition}", login: true,
	},
	{
		name: "type grant", object: "{name} on type {table} for {definition}", remove: "REVOKE {name} ON TYPE {T} FROM {role}",
		make: "GRANT {name} ON TYPE {T} TO {definition}",
	},
	{name: "type closed", object: "type {table}, which is closed to PUBLIC", remove: "GRANT USAGE ON TYPE {T} TO PUBLIC", make: "REVOKE ALL ON TYPE {T} FROM PUBLIC"},
	{name: "type comment", object: "comment on type {table}", remove: "COMMENT ON TYPE {T} IS NULL", make: "COMMENT ON TYPE {T} IS {definition}"},
	{name: "type label", object: "security label on type {table}", remove: "SECURITY LABEL FOR {name} ON TYPE {T} IS NULL"},

	{
		name: "statistics target", object: "target of statistics {name} on table {table}", remove: "ALTER STATISTICS {name} SET STATISTICS -1",
		make: "ALTER STATISTICS {name} SET STATISTICS {definition}", again: true, login: true,
	},
	{
		name: "statistics comment", object: "comment on statistics {name} on table {table}", remove: "COMMENT ON STATISTICS {name} IS NULL",
		make: "COMMENT ON STATISTICS {name} IS {definition}", again: true, login: true,
	},
	{
		name: "statistics owner", object: "owner {definition} of statistics {name} on table {table}", remove: "ALTER STATISTICS {name} OWNER TO CURRENT_USER",
		make: "ALTER STATISTICS {name} OWNER TO {definition}", again: true, login: true,
	},
	{
		name: "index options", object: "storage parameters of index {name} on table {table}", remove: "ALTER INDEX {schema}.{name} RESET ({option names})",
		make: "ALTER INDEX {schema}.{name} SET ({definition})", again: true,
	},
	{
		name: "index tablespace", object: "tablespace of index {name} on table {table}", remove: "ALTER INDEX {schema}.{name} SET TABLESPACE pg_default",
		make: "ALTER INDEX {schema}.{name} SET TABLESPACE {definition}", again: true, login: true,
	},
	{
		name: "index statistics", object: "statistics target of column {column} of index {name} on table {table}",
		remove: "ALTER INDEX {schema}.{name} ALTER COLUMN {column} SET STATISTICS -1",
		make:   "ALTER INDEX {schema}.{name} ALTER COLUMN {column} SET STATISTICS {definition}", again: true,
	},
	{
		name: "index comment", object: "comment on index {name} on table {table}", remove: "COMMENT ON INDEX {schema}.{name} IS NULL",
		make: "COMMENT ON INDEX {schema}.{name} IS {definition}", again: true,
	},
	{
		name: "cluster mark", object: "CLUSTER mark of index {name} on table {table}", remove: "ALTER TABLE {T} SET WITHOUT CLUSTER",
		make: "ALTER TABLE {T} CLUSTER ON {name}", again: true,
	},
	{
		name: "replica identity index", object: "replica identity of table {table} by index {name}", remove: "ALTER TABLE {T} REPLICA IDENTITY DEFAULT",
		make: "ALTER TABLE {T} REPLICA IDENTITY USING INDEX {name}", aside: "ALTER TABLE {T} REPLICA IDENTITY DEFAULT", again: true,
	},
	{
		name: "replica identity", object: "replica identity {definition} of table {table}", remove: "ALTER TABLE {T} REPLICA IDENTITY DEFAULT",
		make: "ALTER TABLE {T} REPLICA IDENTITY {definition}",
	},
	{
		name: "constraint comment", object: "comment on constraint {name} of table {table}", remove: "COMMENT ON CONSTRAINT {name} ON {T} IS NULL",
		make: "COMMENT ON CONSTRAINT {name} ON {T} IS {definition}", again: true,
	},
	{
		name: "column storage", object: "storage {definition} of column {table}.{column}", remove: "ALTER TABLE {T} ALTER COLUMN {column} SET STORAGE EXTENDED",
		make: "ALTER TABLE {T} ALTER COLUMN {column} SET STORAGE {definition}", again: true,
	},
	{
		name: "column compression", object: "compression {definition} of column {table}.{column}",
		remove: "ALTER TABLE {T} ALTER COLUMN {column} SET COMPRESSION DEFAULT",
		make:   "ALTER TABLE {T} ALTER COLUMN {column} SET COMPRESSION {definition}", again: true,
	},
	{
		name: "column statistics", object: "statistics target of column {table}.{column}",
		remove: "ALTER TABLE {T} ALTER COLUMN {column} SET STATISTICS -1",
		make:   "ALTER TABLE {T} ALTER COLUMN {column} SET STATISTICS {definition}",
	},
	{
		name: "column options", object: "options of column {table}.{column}",
		remove: "ALTER TABLE {T} ALTER COLUMN {column} RESET (n_distinct, n_distinct_inherited)",
		make:   "ALTER TABLE {T} ALTER COLUMN {column} SET ({definition})",
	},
	{
		name: "options", object: "storage parameters of table {table}", remove: "ALTER TABLE {T} RESET ({option names})",
		make: "ALTER TABLE {T} SET ({definition})",
	},
	{
		name: "tablespace", object: "tablespace of table {table}", remove: "ALTER TABLE {T} SET TABLESPACE pg_default",
		make: "ALTER TABLE {T} SET TABLESPACE {definition}", spreads: true, login: true,
	},
	{
		name: "sequence options", object: "options of sequence {table}_{column}_seq", remove: "ALTER SEQUENCE {schema}.{table}_{column}_seq INCREMENT BY 1 MINVALUE 1 NO MAXVALUE START WITH 1 CACHE 1 NO CYCLE",
		make: "ALTER SEQUENCE {schema}.{table}_{column}_seq {definition}",
	},
	{
		name: "sequence comment", object: "comment on sequence {table}_{column}_seq", remove: "COMMENT ON SEQUENCE {schema}.{table}_{column}_seq IS NULL",
		make: "COMMENT ON SEQUENCE {schema}.{table}_{column}_seq IS {definition}",
	},
	{
		name: "sequence label", object: "security label on sequence {table}_{column}_seq",
		remove: "SECURITY LABEL FOR {name} ON SEQUENCE {schema}.{table}_{column}_seq IS NULL",
	},
	{name: "comment", object: "comment on table {table}", remove: "COMMENT ON TABLE {T} IS NULL", make: "COMMENT ON TABLE {T} IS {definition}"},
	{
		name: "column comment", object: "comment on column {table}.{column}", remove: "COMMENT ON COLUMN {T}.{column} IS NULL",
		make: "COMMENT ON COLUMN {T}.{column} IS {definition}",
	},
	{
		name: "label", object: "security label on table {table}", remove: "SECURITY LABEL FOR {name} ON TABLE {T} IS NULL",
	},
	{
		name: "column label", object: "security label on column {table}.{column}", remove: "SECURITY LABEL FOR {name} ON COLUMN {T}.{column} IS NULL",
	},
	{
		name: "row security", object: "row level security on table {table}", remove: "ALTER TABLE {T} DISABLE ROW LEVEL SECURITY",
		make: "ALTER TABLE {T} ENABLE ROW LEVEL SECURITY", spreads: true,
	},
	{name: "use", make: "GRANT ALL ON TABLE {T} TO {definition}"}, // for the owner of a new table's source, who cannot be its owner
	{name: "sequence use", make: "GRANT ALL ON SEQUENCE {schema}.{table}_id_seq TO {definition}"},
	{
		name: "grant", object: "{name} on table {table} for {definition}", remove: "REVOKE {name} ON TABLE {T} FROM {role} CASCADE",
		make: "GRANT {name} ON TABLE {T} TO {definition}", spreads: true,
	},
	{
		name: "column grant", object: "{name} on column {table}.{column} for {definition}", remove: "REVOKE {name} ({column}) ON TABLE {T} FROM {role} CASCADE",
		make: "GRANT {name} ({column}) ON TABLE {T} TO {definition}", spreads: true,
	},
	{
		name: "sequence grant", object: "{name} on sequence {table}_{column}_seq for {definition}",
		remove: "REVOKE {name} ON SEQUENCE {schema}.{table}_{column}_seq FROM {role} CASCADE",
		make:   "GRANT {name} ON SEQUENCE {schema}.{table}_{column}_seq TO {definition}", spreads: true,
	},
	{
		name: "trigger", object: "trigger {name} on table {table}", remove: "DROP TRIGGER {name} ON {T}",
		make: "ALTER TABLE {T} {definition} TRIGGER {name}", aside: "ALTER TABLE {T} DISABLE TRIGGER {name}", attaches: true,
	},
	{
		name: "rule", object: "rule {name} on table {table}", remove: "DROP RULE {name} ON {T}",
		make: "ALTER TABLE {T} {definition} RULE {name}", aside: "ALTER TABLE {T} DISABLE RULE {name}", attaches: true,
	},

	{
		name: "foreign key", object: "foreign key {name} of table {on}, which refers to table {table}", remove: "ALTER TABLE {on} DROP CONSTRAINT {name}",
		make: "ALTER TABLE {on} ADD CONSTRAINT {name} {definition}", aside: "ALTER TABLE {on} DROP CONSTRAINT {name}", attaches: true, login: true,
	},
	{
		name: "foreign key comment", object: "comment on foreign key {name} of table {on}", remove: "COMMENT ON CONSTRAINT {name} ON {on} IS NULL",
		make: "COMMENT ON CONSTRAINT {name} ON {on} IS {definition}", again: true, login: true,
	},
	{
		name: "key trigger", object: "{definition}, a trigger of foreign key {name} of table {on}", remove: "ALTER TABLE {T} ENABLE TRIGGER ALL",
		make: keyTriggerSQL, again: true, login: true,
	},
	{
		name: "publication", object: "membership of table {table} in publication {name}", remove: "ALTER PUBLICATION {name} DROP TABLE {T}",
		make: "ALTER PUBLICATION {name} ADD TABLE ONLY {T}", spreads: true, login: true,
	},
	{
		name: "owner", object: "owner {definition} of table {table}", remove: "ALTER TABLE {T} OWNER TO CURRENT_USER",
		make: "ALTER TABLE {T} OWNER TO {definition}", spreads: true, login: true,
	},
}

// keyTriggerSQL gives one of the triggers of a foreign key its state. Their names change
// when the key is made anew.
const keyTriggerSQL = `
DECLARE
    own name := (
        SELECT t.tgname
        FROM pg_trigger AS t
        JOIN pg_constraint AS k ON k.oid = t.tgconstraint
        JOIN pg_proc AS p ON p.oid = t.tgfoid
        WHERE t.tgrelid = {literal T}::regclass
            AND k.conrelid = {literal on}::regclass
            AND quote_ident(k.conname) = {literal name}
            AND p.proname = {literal function}
    );
BEGIN
    EXECUTE format('ALTER TABLE {in literal T} {state} TRIGGER %I', own);
END
`

// of returns the kind of an attachment, and its place among the kinds. An unknown kind
// has no statements.
func (a attachment) of() (found kind, order int) {
	order = slices.IndexFunc(kinds, func(k kind) bool { return k.name == a.kind })
	if order < 0 {
		return kind{name: a.kind, object: a.kind + " {name} on table {table}"}, order
	}
	return kinds[order], order
}

// fill puts what the attachment has into a text of its kind. schema is an SQL identifier.
func (a attachment) fill(text, schema string) string {
	table := schema + "." + a.table
	state, function, _ := strings.Cut(a.definition, " RI_")
	keyTable := table
	if strings.HasPrefix(function, "FKey_check") { // on the table of the key, the others on the one it refers to
		keyTable = a.on
	}
	role := strings.TrimSuffix(a.definition, " WITH GRANT OPTION")
	return strings.NewReplacer(
		"{schema}", schema, "{table}", a.table, "{T}", table, "{column}", a.column, "{name}", a.name, "{on}", a.on,
		"{definition}", a.definition, "{role}", role, "{option names}", optionNames(a.definition), "{state}", state,
		"{literal T}", literal(keyTable), "{literal on}", literal(a.on), "{literal name}", literal(a.name), "{literal function}", literal("RI_"+function),
		"{in literal T}", strings.ReplaceAll(strings.ReplaceAll(keyTable, "'", "''"), "%", "%%"),
	).Replace(text)
}

// optionNames returns the names in a list of name='value'.
func optionNames(definition string) string {
	var names []string
	for _, match := range regexp.MustCompile(`([\w.]+)='`).FindAllStringSubmatch(definition, -1) {
		names = append(names, match[1])
	}
	return strings.Join(names, ", ")
}

// makeSQL returns the statement that makes the attachment.
func (a attachment) makeSQL(schema string) string {
	k, _ := a.of()
	sql := a.fill(k.make, schema)
	if a.kind == "key trigger" {
		sql = "DO " + dollars(sql)
	}
	return sql + ";\n"
}

// literal makes an SQL literal of a text. standard_conforming_strings is on.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// obstacle returns the attachment in words, and what an operator can do about it.
func (a attachment) obstacle(schema string) Obstacle {
	k, _ := a.of()
	found := Obstacle{Object: a.fill(k.object, schema), Remedy: a.fill(k.remove, schema)}
	if !a.may && a.owner != "" {
		found.Object += ", and belongs to role " + a.owner
	}
	return found
}

// Obstacle is something that keeps the steps from running.
type Obstacle struct {
	Object string // what it is, in words
	Remedy string // a statement of SQL, or in words what to do
}

// ObstacleError is an ErrAttached or an ErrUnrecognised that can name what stands in the
// way.
type ObstacleError struct {
	Class     error
	Obstacles []Obstacle
}

// Error counts the obstacles, and names the first; the caller shows them one by one.
func (e *ObstacleError) Error() string {
	text := fmt.Sprintf("%v: %s", e.Class, e.Obstacles[0].Object)
	if more := len(e.Obstacles) - 1; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// Unwrap returns the class.
func (e *ObstacleError) Unwrap() error { return e.Class }

// obstacles returns those attachments in words.
func obstacles(attachments []attachment, schema string) []Obstacle {
	var found []Obstacle
	for _, a := range attachments {
		found = append(found, a.obstacle(schema))
	}
	return found
}

// parseAttached returns the attachments that the result of attached.sql holds.
func parseAttached(result *pgconn.Result) ([]attachment, error) {
	rows, err := postgres.Rows(result, 9)
	if err != nil {
		return nil, err
	}
	var attached []attachment
	for _, row := range rows {
		attached = append(attached, attachment{
			kind: string(row[0]), table: string(row[1]), column: string(row[2]), name: string(row[3]),
			on: string(row[4]), definition: string(row[5]), columns: string(row[6]), may: string(row[7]) == "t",
			owner: string(row[8]),
		})
	}
	return attached, nil
}

// inOrderOfKinds sorts attachments in the order in which they are put back.
func inOrderOfKinds(attached []attachment) {
	slices.SortStableFunc(attached, func(a, b attachment) int {
		_, one := a.of()
		_, other := b.of()
		return cmp.Or(cmp.Compare(one, other), strings.Compare(a.String(), b.String()))
	})
}
