package schema

import (
	"context"
	_ "embed" // for the queries
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/postgres"
)

// Empty and Unreadable are what the database says of a version table without a row, and
// of one whose columns are not those of golang-migrate or of Alembic.
const (
	Empty      = "empty"
	Unreadable = "unreadable"
)

// Database is what one look at a database shows.
type Database struct {
	Schema    string   // PEPhub's schema, as an SQL identifier; empty if the search path leads nowhere
	Path      string   // the search path for the steps: that schema first, pg_temp last
	Shape     Shape    // the tables that are PEPhub's
	Standby   bool     // whether the server is one, and cannot be written to
	Oldest    int      // the oldest step whose applications can work on what is here, or 0 if nothing says so
	Recorded  string   // the version in schema_migrations, Empty, Unreadable, or "" if there is no such table
	Alembic   string   // the revisions in alembic_version, likewise
	Others    []string // some other tables, if none is PEPhub's
	Elsewhere []string // other schemas that hold tables like PEPhub's, likewise
}

// Same reports whether two looks show the same shape, and the same in the version tables.
func (d Database) Same(other Database) bool {
	return maps.Equal(d.Shape, other.Shape) && d.Recorded == other.Recorded && d.Alembic == other.Alembic
}

// Version is the version that schema_migrations records, or 0 if it records none, or
// several.
func (d Database) Version() int {
	version, err := strconv.Atoi(strings.TrimSuffix(d.Recorded, " dirty"))
	if err != nil {
		return 0
	}
	return version
}

// CatalogPath is a statement that makes unqualified names mean what PostgreSQL means by
// them, until the transaction ends. Whatever looks at a database runs so: others may have
// put an operator or a function into every other schema.
const CatalogPath = "SET LOCAL search_path = pg_catalog, pg_temp"

// Reader reads the shape of the tables it was made for, in one message and without a lock
// on any of them.
type Reader struct {
	queries []string
	around  bool
}

var (
	//go:embed where.sql
	whereSQL string
	//go:embed ours.sql
	oursSQL string
	//go:embed shape.sql
	shapeSQL string
	//go:embed others.sql
	othersSQL string
)

// NewReader returns a reader for the tables, enums and indexes of all the snapshots.
func NewReader(snapshots []Shape) Reader {
	ours, lines := Script(snapshots)
	return Reader{queries: append([]string{ours}, lines...)}
}

// Script returns the queries of a look for a script that is to have one too: the first
// finds out, until the transaction ends, which of the snapshots' tables are in the schema
// that the setting pephub_migrate.schema names; the others return a line of text for each
// object, as in Shape's text form, and for what the version tables say. They are to run
// after CatalogPath.
func Script(snapshots []Shape) (ours string, lines []string) {
	return Fill(oursSQL, snapshots), strings.Split(Fill(shapeSQL, snapshots), ";\n")
}

// Fill replaces {{tables}}, {{indexes}} and {{enums}} in a query by the names that the
// snapshots know, as the text of PostgreSQL arrays. They are plain identifiers only.
func Fill(query string, snapshots []Shape) string {
	known := map[string]map[string]bool{"table": {}, "index": {}, "enum": {}}
	for _, snapshot := range snapshots {
		for object := range snapshot {
			kind, name := KindAndName(object)
			if names := known[kind]; names != nil {
				names[name] = true
			}
		}
	}
	return strings.NewReplacer(
		"{{tables}}", array(known["table"]), "{{indexes}}", array(known["index"]), "{{enums}}", array(known["enum"]),
	).Replace(query)
}

func array(names map[string]bool) string {
	return "{" + strings.Join(slices.Sorted(maps.Keys(names)), ",") + "}"
}

// Around returns a reader that also reads what Database has of other tables, for where
// none is PEPhub's.
func (r Reader) Around() Reader {
	r.queries, r.around = append(slices.Clone(r.queries), othersSQL), true
	return r
}

// Read looks at the database.
func (r Reader) Read(ctx context.Context, conn *pgconn.PgConn) (Database, error) {
	results, err := look(ctx, conn, Locate(), r.SQL())
	if err != nil {
		return Database{}, fmt.Errorf("read the database's shape: %w", err)
	}
	return r.Parse(results)
}

// Locate returns the statements that every look begins with. They find PEPhub's schema
// and leave it in the settings pephub_migrate.schema and pephub_migrate.path until the
// transaction ends, and then are as CatalogPath. A standby refuses every query if its
// database or role is set to serializable.
func Locate() string {
	return message("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", whereSQL, CatalogPath)
}

// SQL returns what Read asks after Locate, in a message of its own or of others'.
func (r Reader) SQL() string { return message(r.queries...) }

func message(statements ...string) string { return strings.Join(statements, ";\n") }

// Parse returns what the results of a message say that ended with SQL.
func (r Reader) Parse(results []*pgconn.Result) (Database, error) {
	database, err := r.parse(results)
	if err != nil {
		return Database{}, fmt.Errorf("read the database's shape: %w", err)
	}
	return database, nil
}

func (r Reader) parse(results []*pgconn.Result) (Database, error) {
	results, err := postgres.Last(results, len(r.queries))
	if err != nil {
		return Database{}, err
	}
	place, err := postgres.Row(results[0], 6)
	if err != nil {
		return Database{}, err
	}
	database := Database{Schema: string(place[0]), Path: string(place[1]), Standby: string(place[2]) == "t", Shape: Shape{}}
	for _, result := range results[1:] {
		rows, err := postgres.Rows(result, 1)
		if err != nil {
			return Database{}, err
		}
		for _, row := range rows {
			database.take(string(row[0]))
		}
	}
	if !r.around || len(database.Shape.Names("table")) > 0 {
		database.Others, database.Elsewhere = nil, nil // they are no matter
	}
	return database, nil
}

// take adds what one line says; an empty one is no object's.
func (d *Database) take(line string) {
	object, definition, _ := strings.Cut(line, ": ")
	switch kind, _, _ := strings.Cut(object, " "); kind {
	case "":
	case "schema_migrations":
		d.Recorded = definition
	case "alembic_version":
		d.Alembic = definition
	case "oldest_step":
		d.Oldest, _ = strconv.Atoi(definition) // digits only
	case "other":
		d.Others = append(d.Others, strings.TrimPrefix(line, "other "))
	case "elsewhere":
		d.Elsewhere = append(d.Elsewhere, strings.TrimPrefix(line, "elsewhere "))
	default:
		d.Shape[object] = definition
	}
}

// Ask runs queries, each of which returns a table, in one round trip, and returns as many
// results. They run as after Locate: unqualified names lead to pg_catalog alone. What is
// asked outside a transaction waits for locks no longer than a second. In a transaction
// the schema is known since its first look.
func Ask(ctx context.Context, conn *pgconn.PgConn, queries ...string) ([]*pgconn.Result, error) {
	begin := Locate()
	if conn.TxStatus() != 'I' {
		begin = CatalogPath
	}
	results, err := look(ctx, conn, begin, message(queries...))
	if err != nil {
		return nil, err
	}
	return postgres.Last(results, len(queries))
}

// AskTable runs one query as Ask does, and returns its rows, which have that many
// columns.
func AskTable(ctx context.Context, conn *pgconn.PgConn, columns int, query string) ([][][]byte, error) {
	results, err := Ask(ctx, conn, query)
	if err != nil {
		return nil, err
	}
	return postgres.Rows(results[0], columns)
}

// look sends queries in one message, behind statements that begin it. Somebody may keep a
// table locked: a transaction of our own has set its limit; without one a look has its
// own.
func look(ctx context.Context, conn *pgconn.PgConn, begin, queries string) ([]*pgconn.Result, error) {
	if conn.TxStatus() == 'I' {
		begin = message(postgres.NoticeLossSQL(conn), "SET LOCAL lock_timeout = '1s'", begin)
	}
	return postgres.Exec(ctx, conn, message(begin, queries))
}
