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

// Reader reads the shape of the tables it was made for. Its queries are for a script that is to look too.
type Reader struct {
	// Ours finds out, until the transaction ends, which of the tables are in the schema that unqualified names lead to.
	Ours string
	// Lines ask for what is there: a line of text for each object, as in Shape's text form, and for what else Database
	// holds.
	Lines []string
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
	return Reader{Ours: Fill(oursSQL, snapshots), Lines: strings.Split(Fill(shapeSQL, snapshots), ";\n")}
}

// Fill replaces {{tables}}, {{enums}} and {{indexes}} in a query by the names that the snapshots know, as the text of
// PostgreSQL arrays. They are plain identifiers only.
func Fill(query string, snapshots []Shape) string {
	for kind, placeholder := range map[string]string{"table": "{{tables}}", "enum": "{{enums}}", "index": "{{indexes}}"} {
		if !strings.Contains(query, placeholder) {
			continue // to collect names takes time that a run with nothing to do can save
		}
		names := map[string]bool{}
		for _, snapshot := range snapshots {
			for _, name := range snapshot.Names(kind) {
				names[name] = true
			}
		}
		query = strings.ReplaceAll(query, placeholder, "{"+strings.Join(slices.Sorted(maps.Keys(names)), ",")+"}")
	}
	return query
}

// Read looks at the database, in one round trip and without a lock on any of PEPhub's tables, and in a second where there is
// none of them. Within a transaction it also points the search path to the schema that it read, until the transaction ends.
func (r Reader) Read(ctx context.Context, conn *pgconn.PgConn) (Database, error) {
	database, err := read(ctx, conn, append([]string{r.Ours}, r.Lines...))
	if err != nil || len(database.Shape.Names("table")) > 0 {
		return database, err
	}
	instead, err := read(ctx, conn, []string{r.Ours, othersSQL})
	database.Others, database.Elsewhere = instead.Others, instead.Elsewhere
	return database, err
}

// read takes all lines but the first query's, which is there for the others.
func read(ctx context.Context, conn *pgconn.PgConn, queries []string) (Database, error) {
	place, results, err := Ask(ctx, conn, queries...)
	if err != nil {
		return Database{}, fmt.Errorf("read the database's shape: %w", err)
	}
	database := Database{Schema: place.Schema, Standby: place.Standby, Shape: Shape{}}
	for _, result := range results[1:] {
		for _, row := range result.Rows {
			if err := database.add(string(row[0])); err != nil {
				return Database{}, err
			}
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
	// A standby refuses every query if its database or role is set to serializable.
	before := []string{"SET TRANSACTION ISOLATION LEVEL READ COMMITTED", whereSQL}
	results, err := conn.Exec(ctx, strings.Join(append(before, queries...), ";\n")).ReadAll()
	if err != nil {
		return Place{}, nil, err
	}
	if len(results) != len(before)+len(queries) || len(results[1].Rows) != 1 || len(results[1].Rows[0]) < 2 {
		return Place{}, nil, fmt.Errorf("half an answer: %w", io.ErrUnexpectedEOF) // what speaks there is not PostgreSQL
	}
	where := results[1].Rows[0]
	return Place{Schema: string(where[0]), Standby: string(where[1]) == "t"}, results[len(before):], nil
}

// add takes one line.
func (d *Database) add(line string) (err error) {
	name, value, _ := strings.Cut(line, ": ")
	switch name {
	case "schema_migrations":
		d.Recorded = value
		return nil
	case "alembic_version":
		d.Alembic = value
		return nil
	case "oldest_step":
		if d.Oldest, err = strconv.Atoi(value); err != nil {
			return fmt.Errorf("read the comment on schema_migrations: %w", err)
		}
		return nil
	}
	switch kind, rest, _ := strings.Cut(line, " "); kind {
	case "other":
		d.Others = append(d.Others, rest)
	case "elsewhere":
		d.Elsewhere = append(d.Elsewhere, rest)
	default:
		d.Shape[name] = value
	}
	return nil
}
