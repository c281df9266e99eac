package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	pganalyze "github.com/pganalyze/pg_query_go/v6"
)

// change is one direction of a step.
type change struct {
	from, to   *tables
	order      []string // of the tables in schema.sql
	statements []statement
	back       bool // whether it is the way back
	target     int  // the step that it leads to
}

// draft is the text of a file in the making. Its sections follow each other as they stand
// here: what is new is made first, then rows move, and what is to go goes last, so that
// each statement finds what it needs.
type draft struct {
	change
	moves    bool              // whether rows move, or could be lost
	locks    map[string]string // by table that is there before
	guards   []guard
	types    []item
	creates  []item
	adds     []item
	fills    []item
	rest     []item
	archives []archive
	drops    []item
	last     []item // types, which columns need until they are gone

	referring map[string]bool // foreign keys that stand behind their new column, and those columns: Alembic gives a key no name
	replaced  map[string]bool // enums that are made anew
}

// item is a statement, or a command to be joined with its neighbours in one ALTER TABLE.
type item struct {
	comments []string
	table    string // of the command
	text     string // without the semicolon
}

// guard counts what the older schema has no place for.
type guard struct{ name, count, phrase string }

// archive keeps what the step drops: a table, or one column with the table's key.
type archive struct {
	name, table, query string
	columns            []string
}

// The differ's own names.
const (
	temporaryCheck = "pgschemadiff_tmpnn_"
	temporaryIndex = "pgschemadiff_tmpidx_"
)

func (c change) draft() (*draft, error) {
	d := &draft{change: c, locks: map[string]string{}, referring: map[string]bool{}, replaced: map[string]bool{}}
	var fresh []string
	for name := range c.to.byName {
		if c.from.byName[name] == nil {
			fresh = append(fresh, name)
		}
	}
	for _, enum := range slices.Sorted(maps.Keys(c.to.enums)) {
		if c.from.enums[enum] == nil {
			d.types = append(d.types, item{text: strings.TrimSuffix(enumSQL(enum, c.to.enums[enum]), ";\n")})
		}
	}
	for _, one := range c.to.inOrder(fresh, c.order) {
		d.create(one)
	}
	for _, s := range c.statements {
		if err := d.place(s); err != nil {
			return nil, err
		}
	}
	for _, enum := range slices.Sorted(maps.Keys(d.replaced)) {
		d.replaceEnum(enum)
	}
	d.dropTables()
	return d, nil
}

// create makes a new table, or one that the way up has dropped.
func (d *draft) create(one *table) {
	text := strings.TrimSuffix(one.sql(nil), ";\n")
	d.creates = append(d.creates, item{text: text})
	for _, i := range one.indexes {
		d.creates = append(d.creates, item{text: strings.TrimSuffix(i.sql(), ";\n")})
	}
	for _, k := range one.constraints {
		if k.References != "" && d.from.byName[k.References] != nil {
			d.lock(k.References, "SHARE ROW EXCLUSIVE")
		}
	}
	if d.back {
		d.restoreRows(one)
	}
}

// restoreRows gives a table that the way up has dropped the rows that were archived of
// it.
func (d *draft) restoreRows(one *table) {
	d.moves = true
	var names, typed, values []string
	overriding := ""
	for _, c := range one.columns {
		if c.Generated == "" {
			names, typed, values = append(names, c.Name), append(typed, c.Name+" "+d.archivedType(c)), append(values, d.restored(c, c.Name))
		}
		if c.Identity == "a" {
			overriding = " OVERRIDING SYSTEM VALUE"
		}
	}
	archived := archiveName(one.name, "")
	d.fills = append(d.fills,
		item{
			comments: []string{"-- Made here if the upgrade found nothing to archive."},
			text:     fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s)", archived, strings.Join(typed, ", ")),
		},
		item{text: fmt.Sprintf("INSERT INTO %s (%s)%s\nSELECT %s FROM %s", one.name, strings.Join(names, ", "), overriding, strings.Join(values, ", "), archived)})
	for _, c := range one.columns {
		if _, serial := c.serial(); serial || c.Identity != "" {
			d.fills = append(d.fills, item{text: fmt.Sprintf("SELECT setval(pg_get_serial_sequence('%s', '%s'), max(%s)) FROM %s", one.name, bare(c.Name), c.Name, one.name)})
		}
	}
	d.fills = append(d.fills, item{text: "DROP TABLE " + archived})
}

// place puts a statement where it belongs, or leaves it out if it is said otherwise.
func (d *draft) place(s statement) error {
	switch node := s.node.GetNode().(type) {
	case *pganalyze.Node_VacuumStmt, *pganalyze.Node_CreateStmt, *pganalyze.Node_CreateEnumStmt:
		// Statistics come by themselves, new tables and types are made already.
		return nil
	case *pganalyze.Node_AlterTableStmt:
		return d.alter(s, node.AlterTableStmt)
	case *pganalyze.Node_AlterEnumStmt:
		d.types = append(d.types, item{text: "-- What the steps do next cannot use the new value: it is there after the commit."})
		return d.add(&d.types, s)
	case *pganalyze.Node_CreateSeqStmt:
		if d.to.owns(node.CreateSeqStmt.GetSequence().GetRelname()) {
			return nil
		}
	case *pganalyze.Node_AlterSeqStmt:
		if d.to.owns(node.AlterSeqStmt.GetSequence().GetRelname()) {
			return nil
		}
	case *pganalyze.Node_IndexStmt:
		table := node.IndexStmt.GetRelation().GetRelname()
		if d.from.find(table) == nil {
			return nil // made with its table
		}
		d.lock(table, "SHARE")
		d.rest = append(d.rest, progress("indexing", table))
	case *pganalyze.Node_RenameStmt:
		if strings.HasPrefix(node.RenameStmt.GetNewname(), temporaryIndex) {
			d.rest = append(d.rest, item{comments: hazards(s), text: "DROP INDEX " + node.RenameStmt.GetRelation().GetRelname()})
			return nil
		}
		d.lockNamed(s)
	case *pganalyze.Node_DropStmt:
		return d.drop(s, node.DropStmt)
	case *pganalyze.Node_InsertStmt, *pganalyze.Node_UpdateStmt, *pganalyze.Node_DeleteStmt, *pganalyze.Node_SelectStmt:
		d.moves = true
		d.lockNamed(s)
	default:
		d.moves = true
		d.rest = append(d.rest, item{text: todo("which tables does this read or change? LOCK TABLE at the top names them too")})
	}
	return d.add(&d.rest, s)
}

// add puts a statement at the end of a section as it is.
func (d *draft) add(section *[]item, s statement) error {
	text, err := s.sql()
	text = strings.TrimSuffix(text, ";\n")
	if s.written == "" {
		text = house(text)
	}
	*section = append(*section, item{comments: hazards(s), text: text})
	return err
}

var shortInteger = regexp.MustCompile(`\bint\b`)

// house is the short names of types, and the long one of integer, in what the parser
// wrote.
func house(text string) string {
	return outsideQuotes(text, func(piece string) string {
		return shortInteger.ReplaceAllString(strings.Replace(houseType(piece), " USING btree (", " (", 1), "integer")
	})
}

func hazards(s statement) []string {
	var comments []string
	for _, hazard := range s.hazards {
		line := "-- Hazard"
		for word := range strings.FieldsSeq(hazard) {
			if len(line)+len(word) > 120 {
				comments = append(comments, line)
				line = "--"
			}
			line += " " + word
		}
		comments = append(comments, line)
	}
	return comments
}

// progress says in the log and in pg_stat_activity what a long statement is about.
func progress(doing, table string) item {
	return item{text: fmt.Sprintf("SET LOCAL application_name = 'pephub-migrate: %s %s'", doing, table)}
}

func (d *draft) drop(s statement, drop *pganalyze.DropStmt) error {
	for _, name := range dropped(drop) {
		switch drop.GetRemoveType() {
		case pganalyze.ObjectType_OBJECT_TABLE:
			continue // all together at the end
		case pganalyze.ObjectType_OBJECT_SEQUENCE:
			if d.from.owns(name) {
				continue
			}
		case pganalyze.ObjectType_OBJECT_TYPE:
			if d.to.enums[name] != nil {
				d.replaced[name] = true
				continue
			}
			if err := d.add(&d.last, s); err != nil {
				return err
			}
			continue
		case pganalyze.ObjectType_OBJECT_INDEX:
			table := d.from.ofIndex(name)
			if strings.HasPrefix(name, temporaryIndex) || table == nil || d.to.byName[table.name] == nil || d.loses(table, name) {
				continue // dropped where it would have got its temporary name, or with its table or column
			}
			d.lock(table.name, "ACCESS EXCLUSIVE")
		}
		if err := d.add(&d.rest, s); err != nil {
			return err
		}
	}
	return nil
}

func (d *draft) alter(s statement, alter *pganalyze.AlterTableStmt) error {
	name := alter.GetRelation().GetRelname()
	before, after := d.from.find(name), d.to.find(name)
	if before == nil || after == nil {
		return nil // made as it is to be, or dropped
	}
	d.lock(before.name, "ACCESS EXCLUSIVE")
	for _, one := range alter.GetCmds() {
		text, err := command(alter, one)
		if err != nil {
			return err
		}
		d.command(s, before, after, one.GetAlterTableCmd(), item{comments: hazards(s), table: before.name, text: house(text)})
	}
	return nil
}

// command places one command of an ALTER TABLE.
func (d *draft) command(s statement, before, after *table, cmd *pganalyze.AlterTableCmd, one item) {
	constraintName := cmd.GetName()
	if c := cmd.GetDef().GetConstraint(); c != nil {
		constraintName = c.GetConname()
	}
	switch cmd.GetSubtype() {
	case pganalyze.AlterTableType_AT_AddColumn:
		d.addColumn(before, after, cmd.GetDef().GetColumnDef(), one)
		return
	case pganalyze.AlterTableType_AT_DropColumn:
		d.dropColumn(before, cmd.GetName(), one)
		return
	case pganalyze.AlterTableType_AT_AlterColumnType:
		d.changeType(before, after, cmd, one)
		return
	case pganalyze.AlterTableType_AT_SetNotNull:
		if column := before.find(cmd.GetName()); column != nil && !column.NotNull && s.hazards == nil {
			d.moves = true
			d.rest = append(d.rest, item{text: todo("fill %s.%s where it is NULL, or refuse: UPDATE %s SET %s = ... WHERE %s IS NULL", before.name, column.Name, before.name, column.Name, column.Name)})
		}
	case pganalyze.AlterTableType_AT_AddConstraint, pganalyze.AlterTableType_AT_ValidateConstraint, pganalyze.AlterTableType_AT_DropConstraint:
		drops := cmd.GetSubtype() == pganalyze.AlterTableType_AT_DropConstraint
		if strings.HasPrefix(constraintName, temporaryCheck) || d.referring[constraintName] || drops && d.loses(before, constraintName) ||
			constraintName == "" && d.referring[bare(before.name)+"."+foreignColumn(cmd.GetDef().GetConstraint())] {
			return
		}
		if references := cmd.GetDef().GetConstraint().GetPktable().GetRelname(); references != "" && d.from.find(references) != nil {
			d.lock(references, "SHARE ROW EXCLUSIVE")
		}
		if cmd.GetSubtype() == pganalyze.AlterTableType_AT_ValidateConstraint {
			d.rest = append(d.rest, progress("validating "+constraintName+" of", before.name))
		}
	}
	d.rest = append(d.rest, one)
}

// changeType gives a column another type. The cast that the differ writes out would cut a
// value that is too long for the new type without a word; PostgreSQL's own, without it,
// refuses to.
func (d *draft) changeType(before, after *table, cmd *pganalyze.AlterTableCmd, one item) {
	have, want := before.find(cmd.GetName()), after.find(cmd.GetName())
	if have != nil && want != nil {
		have, _, _ := strings.Cut(have.Type, "(")
		if plain, _, _ := strings.Cut(want.Type, "("); plain == have {
			one.text, _, _ = strings.Cut(one.text, " USING ")
		} else {
			d.moves = true
			d.rest = append(d.rest, item{text: todo("does every value of %s.%s survive this, and come back?", before.name, want.Name)})
		}
	}
	d.rest = append(d.rest, one)
}

// foreignColumn returns the only column of a foreign key.
func foreignColumn(c *pganalyze.Constraint) string {
	if len(c.GetFkAttrs()) != 1 {
		return ""
	}
	return last(c.GetFkAttrs())
}

// loses reports whether a constraint or index of that name goes with a column that is
// dropped. Where another of its name comes, it has to go before.
func (d *draft) loses(before *table, name string) bool {
	after := d.to.byName[before.name]
	if d.to.ofIndex(name) != nil {
		return false
	}
	gone := func(column string) bool { return after.column(column) == nil }
	return slices.ContainsFunc(before.constraints, func(c constraint) bool { return bare(c.Name) == name && slices.ContainsFunc(c.Columns, gone) }) ||
		slices.ContainsFunc(before.indexes, func(i index) bool { return bare(i.Name) == name && slices.ContainsFunc(i.Columns, gone) })
}

// addColumn adds a column as the new schema has it. One that may not be NULL and has no
// value for the rows that are there is filled first.
func (d *draft) addColumn(before, after *table, definition *pganalyze.ColumnDef, one item) {
	column := after.find(definition.GetColname())
	notNull, value := definition.GetIsNotNull(), false
	for _, node := range definition.GetConstraints() {
		switch node.GetConstraint().GetContype() {
		case pganalyze.ConstrType_CONSTR_NOTNULL, pganalyze.ConstrType_CONSTR_PRIMARY:
			notNull = true
		case pganalyze.ConstrType_CONSTR_DEFAULT, pganalyze.ConstrType_CONSTR_IDENTITY, pganalyze.ConstrType_CONSTR_GENERATED:
			value = true
		}
	}
	if column == nil || column.NotNull != notNull || column.fills() != value {
		d.adds = append(d.adds, one) // a column on its way, as Alembic may have it
		return
	}
	late := *column
	empty := notNull && !value
	if empty {
		late.NotNull = false
	}
	one.text = "ADD COLUMN " + late.sql()
	for _, k := range after.constraints {
		// PostgreSQL knows that a new column without a default refers to nothing, and
		// does not look.
		if suffix, ok := k.inline(); ok && k.Kind == "f" && k.Columns[0] == column.Name && !value {
			one.text += " " + suffix
			d.referring[bare(k.Name)], d.referring[bare(before.name)+"."+definition.GetColname()] = true, true
			if d.from.byName[k.References] != nil {
				d.lock(k.References, "SHARE ROW EXCLUSIVE")
			}
		}
	}
	d.adds = append(d.adds, one)
	if d.back {
		d.restore(before, column)
	}
	if empty {
		d.moves = true
		d.fills = append(d.fills, item{text: todo("fill the new column: UPDATE %s SET %s = ... WHERE %s IS NULL", before.name, column.Name, column.Name)})
		d.rest = append(d.rest, item{table: before.name, text: "ALTER COLUMN " + column.Name + " SET NOT NULL"})
	}
}

// restore gives a column that the way up has dropped what was archived of it.
func (d *draft) restore(t *table, c *column) {
	if c.Generated != "" {
		return
	}
	d.moves = true
	key := d.key(t.name)
	if len(key) == 0 {
		d.fills = append(d.fills, item{text: noKey(t, c)})
		return
	}
	archived := archiveName(t.name, c.Name)
	var typed, equal []string
	for _, name := range key {
		part := *t.column(name)
		typed = append(typed, name+" "+d.archivedType(part))
		equal = append(equal, d.restored(part, "a."+name)+" = t."+name)
	}
	d.fills = append(d.fills,
		item{comments: []string{"-- Made here if the upgrade found nothing to archive."}, text: fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s, %s %s)", archived, strings.Join(typed, ", "), c.Name, d.archivedType(*c))},
		item{text: fmt.Sprintf("UPDATE %s AS t SET %s = %s FROM %s AS a WHERE %s", t.name, c.Name, d.restored(*c, "a."+c.Name), archived, strings.Join(equal, " AND "))},
		item{text: "DROP TABLE " + archived})
}

// key returns the columns by which the archive of a column finds its rows: those of the
// older primary key, or else of the newer, that the table has both before and after.
func (d *draft) key(name string) []string {
	older, newer := d.from.byName[name], d.to.byName[name]
	if d.back {
		older, newer = newer, older
	}
	for _, t := range []*table{older, newer} {
		key := t.key()
		if !slices.ContainsFunc(key, func(c string) bool { return older.column(c) == nil || newer.column(c) == nil }) && len(key) > 0 {
			return key
		}
	}
	return nil
}

func noKey(t *table, c *column) string {
	return todo("%s has no primary key, before and after, by which %s could be archived: say where its values go", t.name, c.Name)
}

// archivedType is the type that a column has in an archive: an enum is text there, or it
// could not be dropped, by this step or a later one, as long as there is the archive.
func (d *draft) archivedType(c column) string {
	name, array := strings.CutSuffix(c.Type, "[]")
	switch {
	case d.from.enums[name] == nil && d.to.enums[name] == nil:
		return c.Type
	case array:
		return "text[]"
	}
	return "text"
}

// archived selects a column for an archive.
func (d *draft) archived(c column) string {
	if kept := d.archivedType(c); kept != c.Type {
		return c.Name + "::" + kept + " AS " + c.Name
	}
	return c.Name
}

// restored is the column again, as an expression of what an archive has of it.
func (d *draft) restored(c column, expression string) string {
	if d.archivedType(c) != c.Type {
		return expression + "::" + c.Type
	}
	return expression
}

// dropColumn drops a column that is archived before, or, on the way back, guarded.
func (d *draft) dropColumn(t *table, name string, one item) {
	lost := t.find(name)
	if lost != nil {
		one.text = "DROP COLUMN " + lost.Name
	}
	d.drops = append(d.drops, one)
	if lost == nil || lost.Generated != "" {
		return
	}
	d.moves = true
	for _, c := range t.constraints {
		if c.References != "" && d.to.byName[c.References] != nil && slices.Contains(c.Columns, lost.Name) {
			d.lock(c.References, "ACCESS EXCLUSIVE") // its triggers go
		}
	}
	if d.back {
		d.guardColumn(t, lost)
		return
	}
	if after := d.to.byName[t.name]; after != nil && slices.ContainsFunc(after.columns, func(c column) bool { return t.find(bare(c.Name)) == nil }) {
		d.fills = append(d.fills, item{text: todo("if the values of %s.%s go on in new columns, write them there: UPDATE %s SET ...; and back in the other file, without archive and guard", t.name, lost.Name, t.name)})
	}
	key := d.key(t.name)
	if len(key) == 0 {
		d.fills = append(d.fills, item{text: noKey(t, lost)})
		return
	}
	var values []string
	for _, name := range key {
		values = append(values, d.archived(*t.column(name)))
	}
	d.archives = append(d.archives, archive{archiveName(t.name, lost.Name), t.name,
		fmt.Sprintf("SELECT %s, %s FROM %s WHERE %s IS NOT NULL", strings.Join(values, ", "), d.archived(*lost), t.name, lost.Name), append(slices.Clone(key), lost.Name)})
}

// guardColumn counts the rows whose value the older schema could not make again.
func (d *draft) guardColumn(t *table, c *column) {
	var where string
	switch {
	case c.Identity != "" || c.Sequence != "":
		return
	case c.Default == "":
		where = c.Name + " IS NOT NULL"
	case strings.Contains(c.Default, "("):
		d.fills = append(d.fills, item{text: todo("the default of %s.%s is made anew by every row: say above which rows hold what cannot be made again", t.name, c.Name)})
		where = "true"
	case strings.HasPrefix(c.Type, "json"): // json has no operator for it
		where = fmt.Sprintf("%s::text IS DISTINCT FROM %s", c.Name, c.Default)
	default:
		where = fmt.Sprintf("%s IS DISTINCT FROM %s", c.Name, c.Default)
	}
	d.guards = append(d.guards, guard{
		bare(t.name) + "_" + bare(c.Name), fmt.Sprintf("SELECT count(*) FROM %s WHERE %s", t.name, where),
		fmt.Sprintf("values of %s.%s", t.name, c.Name),
	})
}

func (d *draft) dropTables() {
	var gone []string
	for _, one := range slices.Sorted(maps.Keys(d.from.byName)) {
		if d.to.byName[one] == nil {
			gone = append(gone, one)
		}
	}
	if len(gone) == 0 {
		return
	}
	d.moves = true
	for _, name := range gone {
		d.lock(name, "ACCESS EXCLUSIVE")
		for _, c := range d.from.byName[name].constraints {
			if c.References != "" {
				d.lock(c.References, "ACCESS EXCLUSIVE") // its triggers go
			}
		}
		if d.back {
			d.guards = append(d.guards, guard{bare(name) + "_rows", "SELECT count(*) FROM " + name, "rows of " + name})
		} else {
			d.archives = append(d.archives, archive{archiveName(name, ""), name, "SELECT " + d.everything(d.from.byName[name]) + " FROM " + name, d.from.byName[name].names()})
		}
	}
	d.drops = append(d.drops, item{text: "DROP TABLE " + strings.Join(gone, ", ")})
}

// everything selects a table's columns for an archive.
func (d *draft) everything(t *table) string {
	var values []string
	for _, c := range t.columns {
		values = append(values, d.archived(c))
	}
	if slices.Equal(values, t.names()) {
		return "*"
	}
	return strings.Join(values, ", ")
}

// replaceEnum makes an enum anew that loses a value, which PostgreSQL has no statement
// for.
func (d *draft) replaceEnum(name string) {
	old := "old_" + name
	d.rest = append(d.rest, item{text: "ALTER TYPE " + name + " RENAME TO " + old}, item{text: strings.TrimSuffix(enumSQL(name, d.to.enums[name]), ";\n")})
	for _, one := range slices.Sorted(maps.Keys(d.to.byName)) {
		before := d.from.byName[one]
		if before == nil {
			continue
		}
		var commands []item
		for _, c := range d.to.byName[one].columns {
			if strings.TrimSuffix(c.Type, "[]") != name {
				continue
			}
			d.moves = true
			d.lock(one, "ACCESS EXCLUSIVE")
			if before.column(c.Name) != nil {
				d.loseValues(one, c, name)
			}
			if c.Default != "" { // which has no cast from the old type to the new
				commands = append(commands, item{table: one, text: "ALTER COLUMN " + c.Name + " DROP DEFAULT"})
			}
			commands = append(commands, item{table: one, text: fmt.Sprintf("ALTER COLUMN %s TYPE %s USING %s::%s::%s", c.Name, c.Type, c.Name, d.archivedType(c), c.Type)})
			if c.Default != "" {
				commands = append(commands, item{table: one, text: "ALTER COLUMN " + c.Name + " SET DEFAULT " + c.Default})
			}
		}
		d.rest = append(d.rest, commands...)
	}
	d.last = append(d.last, item{text: "DROP TYPE " + old}) // after the columns of it that go
}

// loseValues prepares a column for an enum without some of its values. On the way up a
// person decides what becomes of them.
func (d *draft) loseValues(table string, c column, enum string) {
	values := strings.Join(d.to.enums[enum], ", ")
	where := fmt.Sprintf("%s::text NOT IN (%s)", c.Name, values)
	if c.Type != enum {
		where = fmt.Sprintf("NOT array_remove(%s::text[], NULL) <@ ARRAY[%s]", c.Name, values)
	}
	if !d.back {
		d.rest = append(d.rest, item{text: todo("no value of %s.%s may be one that %s loses: give them another, UPDATE %s SET %s = ... WHERE %s; or archive the rows", table, c.Name, enum, table, c.Name, where)})
		return
	}
	d.guards = append(d.guards, guard{
		bare(table) + "_" + bare(c.Name), fmt.Sprintf("SELECT count(*) FROM %s WHERE %s", table, where),
		fmt.Sprintf("rows of %s with a %s of its own", table, c.Name),
	})
	d.rest = append(d.rest, item{text: fmt.Sprintf("DELETE FROM %s WHERE %s", table, where)})
}

// lockNamed locks the tables that a statement names: what an application writes into one
// that it reads would be lost too.
func (d *draft) lockNamed(s statement) {
	for _, name := range relations(s.node.ProtoReflect()) {
		if t := d.from.find(name); t != nil {
			d.lock(t.name, "ACCESS EXCLUSIVE")
		}
	}
}

// lock notes that a table is locked in the end, so that the strongest lock can be taken
// first.
func (d *draft) lock(table, mode string) {
	strength := []string{"", "SHARE", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"}
	if slices.Index(strength, mode) > slices.Index(strength, d.locks[table]) {
		d.locks[table] = mode
	}
}

func archiveName(table, column string) string {
	name := "archived_" + bare(table)
	if column != "" {
		name += "_" + bare(column)
	}
	return name
}

func todo(format string, args ...any) string { return "-- TODO: " + fmt.Sprintf(format, args...) }
