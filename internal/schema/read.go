package schema

import (
	"context"
	_ "embed" // for the queries
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Empty and Unreadable are what the database says of a version table without a row, and of one whose columns are
// not those of golang-migrate or of Alembic.
const (
	Empty      = "empty"
	Unreadable = "unreadable"
)

// Database is what one look at a database shows.
type Database struct {
	Schema    string   // the schema that unqualified names lead to, as an SQL identifier; empty if there is none
	Path      string   // the search path for the steps: Schema, the rest of the session's path, pg_temp
	Shape     Shape    // the tables that are PEPhub's
	Standby   bool     // whether the server is one, and cannot be written to
	Oldest    int      // the oldest step whose applications can work on what is here, or 0 if nothing says so
	Recorded  string   // the version in schema_migrations, Empty, Unreadable, or "" if there is no such table
	Alembic   string   // the revisions in alembic_version, likewise
	Others    []string // some other tables, if none is PEPhub's
	Elsewhere []string // other schemas that hold tables like PEPhub's, likewise
}

// Version is the version that schema_migrations records, or 0 if it records none, or several.
func (d Database) Version() int {
	version, err := strconv.Atoi(strings.TrimSuffix(d.Recorded, " dirty"))
	if err != nil {
		return 0
	}
	return version
}

// Reader reads the shape of the tables it was made for, in one message and without a lock on any of them.
type Reader struct {
	queries []string
	tables  map[string]bool
	around  bool
}

var (
	//go:embed where.sql
	whereSQL string
	//go:embed catalogs.sql
	catalogsSQL string
	//go:embed ours.sql
	oursSQL string
	//go:embed shape.sql
	shapeSQL string
	//go:embed others.sql
	othersSQL string
)

// NewReader returns a reader for the tables, enums and indexes of all the snapshots.
func NewReader(snapshots []Shape) Reader {
	known := namesOf(snapshots)
	return Reader{queries: place(strings.Split(known.fill(catalogsSQL), ";\n")...), tables: known["table"]}
}

// Script returns the queries of a look for a script that is to have one too: the first finds out, until the transaction ends, which
// of the snapshots' tables are in the schema that unqualified names lead to; the others return a line of text for each object, as
// in Shape's text form, and for what the version tables say.
func Script(snapshots []Shape) (ours string, lines []string) {
	return Fill(oursSQL, snapshots), strings.Split(Fill(shapeSQL, snapshots), ";\n")
}

// Fill replaces {{tables}}, {{indexes}}, {{enums}} and {{relations}} (tables, indexes and the two version tables) in a query by
// the names that the snapshots know, as the text of PostgreSQL arrays, and {{enum types}} by a list of expressions for the oids
// of the enums. They are plain identifiers only.
func Fill(query string, snapshots []Shape) string { return namesOf(snapshots).fill(query) }

// names are those of the objects that some snapshot has, without the tables that they belong to, by their kind.
type names map[string]map[string]bool

func namesOf(snapshots []Shape) names {
	known := names{"table": {}, "index": {}, "enum": {}}
	for _, snapshot := range snapshots {
		for object := range snapshot {
			kind, name := kindAndName(object)
			if of := known[kind]; of != nil {
				of[name] = true
			}
		}
	}
	return known
}

func (n names) fill(query string) string {
	relations := maps.Clone(n["table"])
	maps.Copy(relations, n["index"])
	relations["schema_migrations"], relations["alembic_version"] = true, true
	types := []string{"NULL"}
	for _, enum := range slices.Sorted(maps.Keys(n["enum"])) {
		types = append(types, "to_regtype('"+enum+"')")
	}
	return strings.NewReplacer(
		"{{tables}}", array(n["table"]),
		"{{indexes}}", array(n["index"]),
		"{{enums}}", array(n["enum"]),
		"{{relations}}", array(relations),
		"{{enum types}}", strings.Join(types, ", "),
	).Replace(query)
}

func array(names map[string]bool) string {
	return "{" + strings.Join(slices.Sorted(maps.Keys(names)), ",") + "}"
}

// Around returns a reader that also reads what Database has of other tables, for where none is PEPhub's.
func (r Reader) Around() Reader {
	r.queries, r.around = append(slices.Clone(r.queries), othersSQL), true
	return r
}

// Read looks at the database.
func (r Reader) Read(ctx context.Context, conn *pgconn.PgConn) (Database, error) {
	results, err := look(ctx, conn, r.queries)
	if err != nil {
		return Database{}, fmt.Errorf("read the database's shape: %w", err)
	}
	return r.Parse(results)
}

// SQL returns what Read asks. Within a transaction it also points the search path to the schema that is read, until that ends.
func (r Reader) SQL() string { return message(r.queries) }

func message(queries []string) string { return strings.Join(queries, ";\n") }

// Parse returns what the results of a message say that ended with SQL.
func (r Reader) Parse(results []*pgconn.Result) (Database, error) {
	where, results, err := split(results, len(r.queries))
	if err != nil {
		return Database{}, fmt.Errorf("read the database's shape: %w", err)
	}
	database, err := readCatalogs(results[1:], r.tables)
	if err != nil {
		return Database{}, fmt.Errorf("read the database's shape: %w", err)
	}
	database.Schema, database.Standby = where.Schema, where.Standby
	if !r.around || len(database.Shape.Names("table")) > 0 {
		return database, nil // the others are no matter
	}
	for _, row := range results[len(results)-1].Rows {
		switch kind, name, _ := strings.Cut(string(row[0]), " "); kind {
		case "other":
			database.Others = append(database.Others, name)
		case "elsewhere":
			database.Elsewhere = append(database.Elsewhere, name)
		}
	}
	return database, nil
}

// Place is where unqualified names lead.
type Place struct {
	Schema  string // as an SQL identifier; empty if there is none
	Standby bool   // whether the server is one
}

// Ask runs queries with unqualified names, each of which returns a table, in one round trip, and returns as many results. What
// is asked outside a transaction waits for locks no longer than a second.
func Ask(ctx context.Context, conn *pgconn.PgConn, queries ...string) (Place, []*pgconn.Result, error) {
	queries = place(queries...)
	results, err := look(ctx, conn, queries)
	if err != nil {
		return Place{}, nil, err
	}
	return split(results, len(queries))
}

// look sends queries in one message. Somebody may keep a table locked: a transaction of our own has set its limit; without one a
// look has its own.
func look(ctx context.Context, conn *pgconn.PgConn, queries []string) ([]*pgconn.Result, error) {
	sql := message(queries)
	if conn.TxStatus() == 'I' {
		sql = "SET LOCAL lock_timeout = '1s';\n" + sql
	}
	return conn.Exec(ctx, sql).ReadAll()
}

// errHalf means that what speaks there is not PostgreSQL.
var errHalf = fmt.Errorf("half an answer: %w", io.ErrUnexpectedEOF)

// place puts in front of queries what finds out where they lead. A standby refuses every query if its database or role is set to
// serializable.
func place(queries ...string) []string {
	return append([]string{"SET TRANSACTION ISOLATION LEVEL READ COMMITTED", whereSQL}, queries...)
}

// split takes the last results of a message, those of that many queries that place has returned.
func split(results []*pgconn.Result, queries int) (Place, []*pgconn.Result, error) {
	first := len(results) - queries
	if first < 0 || len(results[first+1].Rows) != 1 || len(results[first+1].Rows[0]) < 2 {
		return Place{}, nil, errHalf
	}
	where := results[first+1].Rows[0]
	return Place{Schema: string(where[0]), Standby: string(where[1]) == "t"}, results[first+2:], nil
}
