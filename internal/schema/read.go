package schema

import (
	"context"
	_ "embed" // for where.sql and shape.sql
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
	Owner     string   // who owns the tables, as an SQL identifier, if it is another role that this one can act as
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

// Reader reads the shape of the tables it was made for. It does so by two queries.
type Reader struct {
	// Where finds the schema that the tables are in, and leads unqualified names there until the transaction ends.
	Where string
	// Lines is a line of text for each object there, as in Shape's text form, and for what else Database holds.
	Lines string
}

var (
	//go:embed where.sql
	whereSQL string
	//go:embed shape.sql
	shapeSQL string
)

// NewReader returns a reader for the tables, enums and indexes of all the snapshots.
func NewReader(snapshots []Shape) Reader {
	return Reader{Where: Fill(whereSQL, snapshots), Lines: Fill(shapeSQL, snapshots)}
}

// Fill replaces {{tables}}, {{enums}} and {{indexes}} in a query by the names that the snapshots know, as the text of
// PostgreSQL arrays. They are plain identifiers only.
func Fill(query string, snapshots []Shape) string {
	for kind, placeholder := range map[string]string{"table": "{{tables}}", "enum": "{{enums}}", "index": "{{indexes}}"} {
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

// Read looks at the database, in one round trip and without a lock on any of PEPhub's tables. Within a transaction it
// also points the search path to the schema that it read, until the transaction ends.
func (r Reader) Read(ctx context.Context, conn *pgconn.PgConn) (Database, error) {
	results, err := conn.Exec(ctx, r.Where+";\n"+r.Lines).ReadAll()
	if err != nil {
		return Database{}, fmt.Errorf("read the database's shape: %w", err)
	}
	if len(results) != 2 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) < 3 { // what speaks there is not PostgreSQL
		return Database{}, fmt.Errorf("read the database's shape: half an answer: %w", io.ErrUnexpectedEOF)
	}
	where := results[0].Rows[0]
	database := Database{Schema: string(where[0]), Owner: string(where[1]), Standby: string(where[2]) == "t"}
	database.Shape = Shape{}
	for _, row := range results[1].Rows {
		line := string(row[0])
		switch name, value, _ := strings.Cut(line, ": "); name {
		case "schema_migrations":
			database.Recorded = value
		case "alembic_version":
			database.Alembic = value
		case "oldest_step":
			if database.Oldest, err = strconv.Atoi(value); err != nil {
				return Database{}, fmt.Errorf("read the comment on schema_migrations: %w", err)
			}
		default:
			kind, name, _ := strings.Cut(line, " ")
			switch kind {
			case "other":
				database.Others = append(database.Others, name)
			case "elsewhere":
				database.Elsewhere = append(database.Elsewhere, name)
			default:
				object, definition, _ := strings.Cut(line, ": ")
				database.Shape[object] = definition
			}
		}
	}
	return database, nil
}
