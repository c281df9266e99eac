package review

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pephub-migrate/internal/schema"
)

// allowed is the setting in which MIGRATE_ALLOW_DATA_LOSS reaches a step.
const allowed = "pephub_migrate.allow_data_loss"

// large reports whether a table has a row for each sample or its history, or holds
// documents.
func large(table string) bool {
	switch table {
	case "samples", "subsamples", "sample_history", "project_history", "views_samples", "projects":
		return true
	}
	return false
}

// column is a column, or a constraint, of a table; without the quotes that a shape has,
// as the syntax tree has it.
type column struct{ table, name string }

// reviewer knows what the step has done so far.
type reviewer struct {
	down     bool
	line     int // of the statement at hand
	findings []Finding

	tables   map[string]bool    // that were there before, and still are
	enums    map[string]bool    // likewise
	columns  map[column]string  // that were there before: the definition
	keys     map[string]string  // by table: the columns of its primary key
	spelled  map[string]string  // by name: how SQL spells it
	archived map[column]rows    // what archived_... tables hold by now, "*" if it is whatever a table has
	made     map[string]bool    // archives that the step itself has filled
	restored map[string]bool    // tables, of which archives matter, whose rows the step has written to others
	missing  map[string]Finding // by the old name: enums that got another
	guarded  bool               // the file has asked whether data may be lost

	added   map[column]bool   // columns that the step adds
	filled  map[column]bool   // columns that the step gives a value
	checked map[column]bool   // constraints that the step adds
	claims  map[column]column // constraints, of before or of the step, that say that this column is NOT NULL
	proved  map[column]bool   // columns of which a valid constraint says so
}

var (
	shapeObject = regexp.MustCompile(`^(?:unlogged |partitioned )?([a-z]+) ("(?:[^"]|"")*"|[^."]+)(?:\.(.*))?$`)
	simple      = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)
	oneChecked  = regexp.MustCompile(`^check \(([^,]+)\)( not valid)?$`)
)

func newReviewer(before schema.Shape, down bool) *reviewer {
	r := &reviewer{
		down:   down,
		tables: map[string]bool{}, enums: map[string]bool{}, columns: map[column]string{},
		keys: map[string]string{}, spelled: map[string]string{}, archived: map[column]rows{},
		made: map[string]bool{}, restored: map[string]bool{}, missing: map[string]Finding{},
		added: map[column]bool{}, filled: map[column]bool{}, checked: map[column]bool{},
		claims: map[column]column{}, proved: map[column]bool{},
	}
	for object, definition := range before {
		match := shapeObject.FindStringSubmatch(object)
		if match == nil {
			continue
		}
		table, name := r.plain(match[2]), r.plain(match[3])
		switch match[1] {
		case "table":
			r.tables[table] = true
		case "enum":
			r.enums[table] = true
		case "column":
			r.columns[column{table, name}] = definition
		case "constraint":
			if key, ok := strings.CutPrefix(definition, "primary key ("); ok {
				r.keys[table] = strings.TrimSuffix(key, ")")
			}
			if check := oneChecked.FindStringSubmatch(definition); check != nil && strings.HasSuffix(name, "_not_null") {
				checked := column{table, r.plain(check[1])}
				r.claims[column{table, name}] = checked
				r.proved[checked] = check[2] == ""
			}
		}
	}
	return r
}

// plain takes the quotes off a name, and remembers them.
func (r *reviewer) plain(name string) string {
	plain := name
	if strings.HasPrefix(name, `"`) {
		plain = strings.ReplaceAll(name[1:len(name)-1], `""`, `"`)
	}
	r.spelled[plain] = name
	return plain
}

// sql spells a name as SQL does.
func (r *reviewer) sql(name string) string {
	if spelled, ok := r.spelled[name]; ok {
		return spelled
	}
	if simple.MatchString(name) {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// tableOf returns the name of a table as a shape has it: whatever schema is named, a step
// means its own.
func tableOf(rangeVar node) string {
	if rangeVar.text("schemaname") == "pg_temp" {
		return ""
	}
	return rangeVar.text("relname")
}

func isArchive(table string) bool { return strings.HasPrefix(table, "archived_") }

func (r *reviewer) report(rule, problem, safer string) {
	if r.down && rule != "guard" && rule != "dynamic" {
		return
	}
	r.findings = append(r.findings, Finding{r.line, rule, problem, safer})
}

// rewrites reports what writes every row of a table again.
func (r *reviewer) rewrites(table, problem, safer string) {
	if r.tables[table] && large(table) {
		r.report("rewrite", problem+" writes every row of "+table+" again, and nobody may read it until the commit", safer)
	}
}

// loses reports what takes away so many rows of a table, or of a column if it has a name,
// unless they are in an archive by now.
func (r *reviewer) loses(c column, gone rows, problem string) {
	switch {
	case isArchive(c.table): // it is kept until the operator drops it, or the way back has given its rows back
		if r.made[c.table] || !r.restored[c.table] {
			r.loss(problem+", which holds what was to be kept", "leave it to the operator, or give its rows back by an INSERT or UPDATE before it")
		}
	case r.tables[c.table] && !r.inArchive(c, gone):
		archive, columns := "archived_"+c.table, "*"
		if c.name != "" {
			archive += "_" + c.name
			columns = strings.TrimPrefix(r.keys[c.table]+", "+r.sql(c.name), ", ")
		}
		r.loss(problem+", and no table archived_... holds what goes",
			fmt.Sprintf("before it, CREATE TABLE %s AS SELECT %s FROM %s", r.sql(archive), columns, r.sql(c.table)))
	}
}

// losesSome reports what takes away the rows of a WHERE. A way up that has asked first
// refuses where there are any.
func (r *reviewer) losesSome(c column, problem string) {
	if r.down || !r.guarded {
		r.loses(c, some, problem)
	}
}

// loss reports a loss by the rule of the direction.
func (r *reviewer) loss(problem, safer string) {
	switch {
	case !r.down:
		r.report("drop", problem, safer)
	case !r.guarded:
		r.report("guard", problem+", and nothing before asks whether data may be lost",
			"before it, RAISE if there are rows and current_setting('"+allowed+"', true) IS DISTINCT FROM 'true'")
	}
}

func (r *reviewer) cascades(n node) {
	if n.text("behavior") == "DROP_CASCADE" {
		r.loss("CASCADE takes along what the step does not name", "drop each by its name, without CASCADE")
	}
}

// statement reviews a statement. What it writes to an archive counts for what it deletes.
func (r *reviewer) statement(s item) {
	s.walk(r.keeps)
	s.walk(r.writes)
	switch s.kind {
	case unreadable:
		r.report("dynamic", "what it does cannot be reviewed", "the statement itself, or EXECUTE of a constant")
	case "AlterTableStmt":
		r.alterTable(s.node)
	case "RenameStmt":
		r.renames(s.node)
	case "AlterObjectSchemaStmt":
		table, enum := tableOf(s.node.node("relation")), lastName(s.item("object").list("items"))
		if s.text("objectType") == "OBJECT_TABLE" && r.tables[table] || s.text("objectType") == "OBJECT_TYPE" && r.enums[enum] {
			r.renamed(table + enum)
		}
	case "CreateEnumStmt": // an enum loses a value this way: the one that was there makes room for it
		enum := lastName(s.list("typeName"))
		r.findings = slices.DeleteFunc(r.findings, func(f Finding) bool { return f == r.missing[enum] })
	case "AlterEnumStmt":
		if enum := lastName(s.list("typeName")); s.text("oldVal") != "" && r.enums[enum] {
			r.renamed("value " + s.text("oldVal") + " of " + enum)
		}
	case "DropStmt":
		r.drops(s.node)
	case "DropOwnedStmt":
		r.loss("DROP OWNED drops tables that the step does not name", "drop each by its name")
	case "TruncateStmt":
		existing := false
		for _, relation := range s.list("relations") {
			table := tableOf(relation.node)
			existing = existing || r.tables[table]
			r.loses(column{table, ""}, all, "TRUNCATE of "+table)
		}
		if existing {
			r.cascades(s.node)
		}
	case "ClusterStmt":
		if relation := s.node.node("relation"); relation != nil {
			r.compacts("CLUSTER", relation)
		} else {
			r.compacts("CLUSTER")
		}
	case "VacuumStmt":
		if slices.ContainsFunc(s.list("options"), func(option item) bool { return option.text("defname") == "full" }) {
			var relations []node
			for _, relation := range s.list("rels") {
				relations = append(relations, relation.node.node("relation"))
			}
			r.compacts("VACUUM FULL", relations...)
		}
	}
}

// compacts reports a command that rewrites these tables; without any, every table.
func (r *reviewer) compacts(command string, relations ...node) {
	const safer = "leave it to the operator"
	for _, relation := range relations {
		r.rewrites(tableOf(relation), command, safer)
	}
	if len(relations) == 0 {
		r.report("rewrite", command+" writes every table again", safer)
	}
}

// keeps takes note of rows that go to an archive or come back from one, and of a look at
// whether data may be lost.
func (r *reviewer) keeps(i item) {
	switch i.kind {
	case expression:
		r.guarded = true
	case "FuncCall":
		if args := i.list("args"); len(args) > 0 && lastName(i.list("funcname")) == "current_setting" {
			r.guarded = r.guarded || args[0].node.node("sval").text("sval") == allowed
		}
	case "CreateTableAsStmt":
		into := i.node.node("into")
		// IF NOT EXISTS would leave an archive of another step as it is.
		if into.node("rel").text("relpersistence") != "t" && !into.flag("skipData") && !i.flag("if_not_exists") {
			r.moves(tableOf(into.node("rel")), i.item("query"), i.node)
		}
	case "InsertStmt":
		r.moves(tableOf(i.node.node("relation")), i.item("selectStmt"), i.node)
	case "UpdateStmt", "MergeStmt":
		r.moves(tableOf(i.node.node("relation")), item{}, i.node)
	}
}

// moves takes note of rows that a statement writes to an archive, or to another table.
func (r *reviewer) moves(to string, query item, statement node) {
	switch {
	case isArchive(to):
		r.made[to] = true
		r.archives(query, statement)
	case to != "":
		r.restores(map[string]any(statement))
	}
}

// writes reviews statements that may also stand in a WITH.
func (r *reviewer) writes(i item) {
	table := tableOf(i.node.node("relation"))
	every := always(i.item("whereClause"))
	switch i.kind {
	case "UpdateStmt":
		r.sets(table, i.list("targetList"))
		if every {
			r.rewrites(table, "UPDATE without WHERE",
				"a WHERE that takes only the rows that need it, or a new table by CREATE TABLE AS with the indexes after the rows")
		}
	case "InsertStmt":
		r.sets(table, i.node.node("onConflictClause").list("targetList"))
	case "DeleteStmt":
		if every {
			r.loses(column{table, ""}, all, "DELETE of rows of "+table)
		} else {
			r.losesSome(column{table, ""}, "DELETE of rows of "+table)
		}
	case "MergeStmt":
		for _, when := range i.list("mergeWhenClauses") {
			switch when.text("commandType") {
			case "CMD_UPDATE":
				r.sets(table, when.list("targetList"))
			case "CMD_DELETE":
				r.losesSome(column{table, ""}, "MERGE deletes rows of "+table)
			}
		}
	}
}

// sets reviews what an UPDATE writes to columns.
func (r *reviewer) sets(table string, targets []item) {
	for _, target := range targets {
		c := column{table, target.text("name")}
		val := target.item("val")
		if val.kind == "MultiAssignRef" { // (a, b) = (1, 2)
			if row := val.item("source").list("args"); len(row) > 0 {
				val = row[val.number("colno")-1]
			}
		}
		val = uncast(val)
		null := val.kind == "A_Const" && val.flag("isnull")
		r.filled[c] = r.filled[c] || !null
		if (null || val.kind == "SetToDefault") && !r.added[c] {
			r.losesSome(c, "UPDATE without a value for "+c.name+" of "+table)
		}
	}
}

func (r *reviewer) drops(n node) {
	kind, existing := n.text("removeType"), true
	switch kind {
	case "OBJECT_TABLE":
		existing = false
		for _, object := range n.list("objects") {
			words := object.list("items")
			table := lastName(words)
			if words[0].text("sval") == "pg_temp" {
				continue
			}
			existing = existing || r.tables[table]
			r.loses(column{table, ""}, all, "DROP TABLE of "+table)
			delete(r.tables, table) // a new one of that name is the step's own
		}
	case "OBJECT_SCHEMA":
		r.loss("DROP SCHEMA drops tables that the step does not name", "drop each by its name")
		return
	}
	if existing {
		r.cascades(n)
	}
}

func (r *reviewer) renamed(what string) {
	r.report("rename", "the application that runs uses the old name of "+what,
		"add the new one beside it, fill it, and drop the old one with a later release")
}

func (r *reviewer) renames(n node) {
	table := tableOf(n.node("relation"))
	switch n.text("renameType") {
	case "OBJECT_TABLE":
		switch {
		case !r.tables[table]:
			return
		case isArchive(n.text("newname")):
			r.archived[column{table, "*"}] = all
			r.made[n.text("newname")] = true
		default:
			r.renamed(table)
			r.tables[n.text("newname")] = true
		}
		delete(r.tables, table)
	case "OBJECT_COLUMN":
		if name := n.text("subname"); r.tables[table] && !r.added[column{table, name}] {
			r.renamed(table + "." + name)
		}
	case "OBJECT_TYPE":
		if enum := lastName(n.item("object").list("items")); r.enums[enum] {
			r.renamed(enum)
			if !r.down { // of which nothing is reported
				r.missing[enum] = r.findings[len(r.findings)-1]
			}
		}
	case "OBJECT_SCHEMA":
		r.renamed("schema " + n.text("subname"))
	}
}

func (r *reviewer) alterTable(n node) {
	table := tableOf(n.node("relation"))
	for _, cmd := range n.list("cmds") {
		c := column{table, cmd.text("name")}
		switch kind := cmd.text("subtype"); kind {
		case "AT_DropColumn":
			if !r.added[c] {
				r.loses(c, some, "DROP COLUMN "+c.name+" of "+table)
			}
			delete(r.columns, c) // the table can go without it
		case "AT_AlterColumnType":
			if def := cmd.item("def").node; !r.keepsRows(c, def) {
				r.rewrites(table, "ALTER COLUMN "+c.name+" TYPE",
					"a new column beside it, filled by an UPDATE with a WHERE, or a new table by CREATE TABLE AS")
			}
		case "AT_SetLogged", "AT_SetUnLogged", "AT_SetAccessMethod", "AT_SetTableSpace", "AT_SetExpression":
			r.rewrites(table, map[string]string{
				"AT_SetLogged": "SET LOGGED", "AT_SetUnLogged": "SET UNLOGGED", "AT_SetAccessMethod": "SET ACCESS METHOD",
				"AT_SetTableSpace": "SET TABLESPACE", "AT_SetExpression": "SET EXPRESSION",
			}[kind], "leave it as it is")
		}
		if !r.tables[table] {
			continue
		}
		if cmd.text("behavior") == "DROP_CASCADE" {
			r.cascades(cmd.node)
		}
		switch cmd.text("subtype") {
		case "AT_AddColumn":
			r.addColumn(table, cmd.item("def").node, cmd.flag("missing_ok"))
		case "AT_AddConstraint":
			r.addConstraint(table, cmd.item("def").node)
		case "AT_ValidateConstraint":
			r.validates(c)
		case "AT_SetNotNull":
			r.setNotNull(c)
		}
	}
}

var ofText = regexp.MustCompile(`^(?:text|character varying(?:\((\d+)\))?)(?: |$)`)

// keepsRows reports whether PostgreSQL changes the type of a column without a look at its
// rows.
func (r *reviewer) keepsRows(c column, def node) bool {
	old, to := ofText.FindStringSubmatch(r.columns[c]), def.node("typeName")
	name := lastName(to.list("names"))
	computed := to["arrayBounds"] != nil || def["raw_default"] != nil || def["collClause"] != nil // raw_default is what USING says
	if old == nil || name != "text" && name != "varchar" || computed {
		return false
	}
	limits := to.list("typmods")
	if len(limits) == 0 {
		return true
	}
	limit, err := strconv.Atoi(old[1])
	return err == nil && limits[0].node.node("ival").number("ival") >= limit
}

func (r *reviewer) addColumn(table string, def node, ifNotExists bool) {
	c := column{table, def.text("colname")}
	constraints := map[string]node{}
	for _, constraint := range def.list("constraints") {
		constraints[constraint.text("contype")] = constraint.node
	}
	ofDefault := constraints["CONSTR_DEFAULT"]
	serial := strings.Contains(lastName(def.node("typeName").list("names")), "serial")
	generated := serial || constraints["CONSTR_GENERATED"] != nil || constraints["CONSTR_IDENTITY"] != nil
	fills := generated || ofDefault != nil && !ofDefault.item("raw_expr").flag("isnull")
	if generated || volatile(ofDefault) {
		r.rewrites(table, "ADD COLUMN "+c.name+" with a value of its own for each row",
			"add it without one, SET DEFAULT, and fill the rows that need it by an UPDATE with a WHERE")
	}
	if (constraints["CONSTR_NOTNULL"] != nil || constraints["CONSTR_PRIMARY"] != nil) && !fills {
		r.report("not_null", fmt.Sprintf("ADD COLUMN %s NOT NULL without a DEFAULT fails as soon as %s has a row", c.name, table),
			"add it with a DEFAULT, or without NOT NULL, fill it, and SET NOT NULL")
	}
	for _, constraint := range def.list("constraints") {
		// PostgreSQL knows of a column without a default that it refers to nothing.
		if constraint.text("contype") != "CONSTR_FOREIGN" || ofDefault != nil || generated {
			r.addConstraint(table, constraint.node)
		}
	}
	_, before := r.columns[c]
	r.added[c] = !before || !ifNotExists
	r.filled[c] = r.filled[c] || fills
}

// volatile reports whether a default may have another value for each row. Of functions
// the names are all there is to see.
func volatile(ofDefault node) bool {
	found := false
	item{node: ofDefault}.walk(func(i item) {
		if i.kind == "FuncCall" {
			switch lastName(i.list("funcname")) {
			case "now", "transaction_timestamp", "statement_timestamp":
			default:
				found = true
			}
		}
	})
	return found
}

func (r *reviewer) addConstraint(table string, constraint node) {
	name := column{table, constraint.text("conname")}
	switch constraint.text("contype") {
	case "CONSTR_CHECK", "CONSTR_FOREIGN":
		if test := constraint.item("raw_expr"); test.kind == "NullTest" && test.text("nulltesttype") == "IS_NOT_NULL" {
			r.claims[name] = column{table, lastName(test.item("arg").list("fields"))}
		}
		r.checked[name] = true
		if constraint.flag("skip_validation") {
			return
		}
		r.report("validate", "every row of "+table+" is checked under the lock of ALTER TABLE", saferCheck(table, "..."))
	case "CONSTR_UNIQUE", "CONSTR_PRIMARY":
		if constraint.text("indexname") == "" {
			r.report("index", "the index is built while nobody may read "+table,
				"CREATE UNIQUE INDEX, which lets readers go on, and then ADD CONSTRAINT ... USING INDEX")
		}
	case "CONSTR_EXCLUSION":
		r.report("index", "the index is built while nobody may read "+table,
			"there is no other way to an EXCLUDE; say why it is needed")
	}
}

// saferCheck says how a constraint comes to a table. All steps of a run share one
// transaction: what is locked stays locked.
func saferCheck(table, constraint string) string {
	add := "ADD CONSTRAINT " + constraint + " NOT VALID, and "
	if large(table) {
		return add + "in a step of its own, which MIGRATE_TARGET runs apart, VALIDATE CONSTRAINT"
	}
	return add + "after it VALIDATE CONSTRAINT"
}

func (r *reviewer) validates(constraint column) {
	if r.checked[constraint] && large(constraint.table) {
		r.report("validate", "every row of "+constraint.table+" is checked under the lock of the step's own ADD CONSTRAINT",
			saferCheck(constraint.table, "..."))
	}
	if c, ok := r.claims[constraint]; ok {
		r.proved[c] = true
	}
}

func (r *reviewer) setNotNull(c column) {
	// What an earlier step has claimed of a column it has filled.
	earlier := false
	for constraint, claimed := range r.claims {
		earlier = earlier || claimed == c && !r.checked[constraint]
	}
	if !r.proved[c] && (!r.added[c] || large(c.table)) {
		r.report("validate", fmt.Sprintf("SET NOT NULL of %s reads every row of %s while nobody else may", c.name, c.table),
			saferCheck(c.table, r.sql(c.table+"_"+c.name+"_not_null")+" CHECK ("+r.sql(c.name)+" IS NOT NULL)")+
				", SET NOT NULL, which needs no scan by then, and DROP CONSTRAINT")
	}
	if !r.filled[c] && !earlier {
		r.report("not_null", fmt.Sprintf("SET NOT NULL fails if %s of %s is NULL in a row, and nothing fills it", c.name, c.table),
			fmt.Sprintf("before it, UPDATE %s SET %s = ... WHERE %[2]s IS NULL", r.sql(c.table), r.sql(c.name)))
	}
}

// lastName returns the last of the words of a name: what comes before is the schema.
func lastName(words []item) string {
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1].text("sval")
}
