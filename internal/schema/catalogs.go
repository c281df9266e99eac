package schema

import (
	"bytes"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// catalogs puts together what the queries of catalogs.sql return, in the words of shape.sql.
type catalogs struct {
	tables    map[string]bool     // the names of those whose shape is wanted
	relations map[string]relation // by oid
	columns   map[string][]column // by the oid of the table
	enums     map[string][]string // the labels, by name
	shape     Shape
}

type relation struct {
	name, kind, persistence, method string
	rows                            []byte // of a version table, as XML
}

type column struct {
	number, name, kind string // without a type's length
	definition         string
	computed           bool // whether its value is not a default's
}

// readCatalogs takes the results of catalogs.sql after the first, in order.
func readCatalogs(results []*pgconn.Result, tables map[string]bool) (Database, error) {
	c := catalogs{tables, map[string]relation{}, map[string][]column{}, map[string][]string{}, Shape{}}
	database := Database{Shape: c.shape}
	for i, query := range []struct {
		columns int
		take    func(row [][]byte)
	}{
		{6, c.takeRelation}, {8, c.takeColumn}, {3, c.takeDefault}, {12, c.takeConstraint}, {6, c.takeIndex}, {4, c.takeSequence},
		{2, c.takeLabel}, {1, func(row [][]byte) { database.Oldest = oldestStep(row[0]) }},
	} {
		for _, row := range results[i].Rows {
			if len(row) != query.columns {
				return Database{}, errHalf
			}
			query.take(row)
		}
	}
	c.describe()
	database.Recorded = c.versions("schema_migrations", "dirty boolean", "version bigint")
	database.Alembic = c.versions("alembic_version", "version_num character varying")
	return database, nil
}

func (c *catalogs) takeRelation(row [][]byte) {
	c.relations[string(row[0])] = relation{string(row[1]), string(row[2]), string(row[3]), string(row[4]), row[5]}
}

func (c *catalogs) takeColumn(row [][]byte) {
	table := string(row[0])
	added := column{number: string(row[1]), name: string(row[2]), definition: string(row[3])}
	added.kind, _, _ = strings.Cut(added.definition, "(")
	if row[4] != nil {
		added.definition += " collate " + string(row[4])
	}
	if isTrue(row[5]) {
		added.definition += " not null"
	}
	switch generated, identity := string(row[6]), string(row[7]); {
	case generated != "":
		added.definition, added.computed = added.definition+" generated", true
	case identity != "":
		added.definition, added.computed = added.definition+" identity", true
	}
	c.columns[table] = append(c.columns[table], added)
}

func (c *catalogs) takeDefault(row [][]byte) {
	columns := c.columns[string(row[0])]
	for i := range columns {
		if columns[i].number == string(row[1]) && !columns[i].computed {
			columns[i].definition += " default " + string(row[2])
		}
	}
}

// describe puts tables, columns and enums into the shape, when all is known of them.
func (c *catalogs) describe() {
	for oid, relation := range c.relations {
		if !c.tables[relation.name] {
			continue
		}
		object := map[string]string{"r": "table ", "p": "partitioned table "}[relation.kind]
		if object == "" {
			object = "relation "
		}
		if relation.persistence == "u" {
			object = "unlogged " + object
		}
		c.shape[object+relation.name] = ""
		for _, column := range c.columns[oid] {
			c.shape["column "+relation.name+"."+column.name] = column.definition
		}
	}
	for enum, labels := range c.enums {
		c.shape["enum "+enum] = strings.Join(labels, ", ")
	}
}

func (c *catalogs) takeConstraint(row [][]byte) {
	table, ok := c.table(row[0])
	if !ok || string(row[2]) == "n" { // NOT NULL in PostgreSQL 18, which the columns say
		return
	}
	kinds := map[string]string{"p": "primary key", "u": "unique", "f": "foreign key", "c": "check"}
	definition := kinds[string(row[2])]
	if definition == "" {
		definition = "other"
	}
	if row[3] != nil {
		definition += " (" + c.names(row[0], row[3]) + ")"
	}
	if string(row[4]) != "0" {
		definition += " references " + string(row[5]) + " (" + c.names(row[4], row[6]) + ")"
	}
	actions := map[string]string{"c": "cascade", "n": "set null", "d": "set default", "r": "restrict"}
	if string(row[7]) == "f" {
		definition += " match full"
	}
	if action := actions[string(row[8])]; action != "" {
		definition += " on update " + action
	}
	if action := actions[string(row[9])]; action != "" {
		definition += " on delete " + action
	}
	if isTrue(row[10]) {
		definition += " deferrable"
	}
	if !isTrue(row[11]) {
		definition += " not valid"
	}
	c.shape["constraint "+table+"."+string(row[1])] = definition
}

func (c *catalogs) takeIndex(row [][]byte) {
	table, ok := c.table(row[1])
	if !ok {
		return
	}
	index := c.relations[string(row[0])]
	var definition string
	if isTrue(row[3]) {
		definition = "unique "
	}
	definition += accessMethod(index.method) + " (" + c.names(row[1], row[2]) + ")"
	if isTrue(row[4]) {
		definition += " partial"
	}
	if !isTrue(row[5]) {
		definition += " invalid"
	}
	c.shape["index "+table+"."+index.name] = definition
}

// accessMethod returns the name of one of PostgreSQL's own, whose oids never change (pg_am.dat).
func accessMethod(oid string) string {
	names := map[string]string{"403": "btree", "405": "hash", "783": "gist", "2742": "gin", "4000": "spgist", "3580": "brin"}
	if name, ok := names[oid]; ok {
		return name
	}
	return "access method " + oid
}

func (c *catalogs) takeSequence(row [][]byte) {
	table, ok := c.table(row[2])
	if row[1] == nil || !ok {
		return
	}
	c.shape["sequence "+string(row[0])] = string(row[1]) + " owned by " + table + "." + c.names(row[2], row[3])
}

func (c *catalogs) takeLabel(row [][]byte) {
	enum := string(row[0])
	c.enums[enum] = append(c.enums[enum], string(row[1]))
}

// table returns the name of a relation whose shape is wanted.
func (c *catalogs) table(oid []byte) (name string, ok bool) {
	name = c.relations[string(oid)].name
	return name, c.tables[name]
}

// names returns those of the columns of a table, given as PostgreSQL writes an array or a vector of their numbers.
func (c *catalogs) names(table, numbers []byte) string {
	var names []string
	for _, number := range strings.FieldsFunc(string(numbers), func(r rune) bool { return strings.ContainsRune("{, }", r) }) {
		name := "column " + number // of a table that is not PEPhub's
		if number == "0" {
			name = "an expression"
		}
		for _, column := range c.columns[string(table)] {
			if column.number == number {
				name = column.name
			}
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// versions returns the rows of a version table, if it is one: with these columns, given in alphabetical order.
func (c *catalogs) versions(name string, wanted ...string) string {
	for oid, relation := range c.relations {
		if relation.name != name {
			continue
		}
		var columns, names []string
		// A row has them in the order of their numbers, which are digits here: a table with more than nine is none.
		ordered := slices.SortedFunc(slices.Values(c.columns[oid]), func(a, b column) int { return strings.Compare(a.number, b.number) })
		for _, column := range ordered {
			columns = append(columns, column.name+" "+column.kind)
			names = append(names, column.name)
		}
		slices.Sort(columns)
		if relation.kind != "r" || !slices.Equal(columns, wanted) {
			return Unreadable
		}
		if versions := parseVersions(relation.rows, names); len(versions) > 0 {
			return strings.Join(versions, " ")
		}
		return Empty
	}
	return ""
}

// parseVersions takes rows like <t>(15,f)</t> out of XML.
func parseVersions(rows []byte, columns []string) []string {
	var versions []string
	for row := range bytes.SplitSeq(rows, []byte("<t>(")) {
		text, _, ok := strings.Cut(string(row), ")</t>")
		if !ok {
			continue
		}
		var version, dirty string
		for i, value := range strings.Split(text, ",") {
			switch {
			case i < len(columns) && columns[i] == "dirty":
				if value == "t" {
					dirty = " dirty"
				}
			default:
				version += value
			}
		}
		if version != "" {
			versions = append(versions, version+dirty)
		}
	}
	slices.Sort(versions)
	return versions
}

// oldestStep returns what a comment on schema_migrations says, or 0.
func oldestStep(comment []byte) int {
	_, after, _ := bytes.Cut(comment, []byte("oldest_step="))
	number := 0
	for i := 0; i < len(after) && i < 9 && after[i] >= '0' && after[i] <= '9'; i++ {
		number = 10*number + int(after[i]-'0')
	}
	return number
}

// isTrue reads a boolean in PostgreSQL's text form.
func isTrue(value []byte) bool { return string(value) == "t" }
