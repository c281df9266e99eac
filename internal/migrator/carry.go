package migrator

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"pephub-migrate/internal/schema"
)

// moves says where a step leaves what was there before it. Objects are named as in a
// shape: "table schemas", "column schemas.name", "constraint projects.id".
type moves struct {
	from     map[string][]string // of a new table or column: those that its rows or values come from
	moved    map[string]string   // of an object that goes: the one that it is afterwards
	refilled map[string]bool     // the tables that are emptied and filled anew, with their constraints
	distinct map[string]string   // by column whose values must differ from row to row before: the columns that name a row
	merged   map[string][]string // by column whose equal rows become one: the tables whose rows do
}

// passage is the way from the shape before some steps to that after them.
type passage struct {
	schema        string // PEPhub's, as an SQL identifier
	idle          bool   // whether there is no step on the way
	before, after schema.Shape
	remade        map[string]bool     // tables and enums that were there, and are dropped before the steps
	from          map[string][]string // of each new object: the objects before that its rows or values come from
	moved         map[string]string   // of each object before that goes: the object after that it is
	back          map[string][]string // of each object before that goes: where the way up would take it from again
	refilled      map[string]bool
	archives      map[string][]string // of each archive that the steps may make: the tables before that its rows come from
}

// passage returns the way from a database that is at a step to another step, in either
// direction. dropped are the tables and enums that make way for the steps.
func (s Steps) passage(db schema.Database, dropped []string, from, to int) passage {
	target, _ := s.find(to)
	p := passage{
		schema: db.Schema, idle: from == to, before: maps.Clone(db.Shape), after: maps.Clone(target.Shape), remade: map[string]bool{}, from: map[string][]string{},
		moved: map[string]string{}, back: map[string][]string{}, refilled: map[string]bool{}, archives: map[string][]string{},
	}
	p.after["table schema_migrations"] = ""
	if db.Recorded != "" {
		p.before["table schema_migrations"] = ""
	}
	if db.Alembic != "" {
		p.before["table alembic_version"] = ""
	}
	if db.Alembic != "" || target.Revision != "" {
		p.after["table alembic_version"] = ""
	}
	for _, name := range dropped {
		p.remade[name] = true
	}
	if to < from {
		p.downwards(s.between(to, from))
	} else {
		p.upwards(s.between(from, to))
	}
	return p
}

func (p passage) upwards(steps []Step) {
	declared := declaredSources(steps)
	for _, step := range steps {
		for old, now := range step.moves.moved {
			for first, last := range p.moved {
				if last == old {
					p.moved[first] = now
				}
			}
			p.moved[old] = now
		}
		maps.Copy(p.refilled, step.moves.refilled)
		for archive, source := range step.costs.archives {
			p.archives[archive] = orDefault(trace("table "+source, declared, p.was))
		}
	}
	for object := range p.after {
		if !isTableOrColumn(object) {
			continue
		}
		for _, source := range declared[object] {
			p.from[object] = append(p.from[object], trace(source, declared, p.was)...)
		}
	}
}

func (p passage) downwards(steps []Step) {
	declared := declaredSources(steps)
	for object, sources := range declared {
		for _, source := range sources {
			if !p.was(source) && p.was(object) {
				p.from[source] = append(p.from[source], object)
			}
		}
	}
	for _, sources := range p.from {
		slices.Sort(sources) // so that the first is the same in every run
	}
	for _, step := range slices.Backward(steps) {
		for now, old := range step.moves.moved {
			for first, last := range p.moved {
				if last == old {
					p.moved[first] = now
				}
			}
			p.moved[old] = now
		}
	}
	for object := range p.before {
		if !p.is(object) && isTableOrColumn(object) {
			p.back[object] = trace(object, declared, p.is)
		}
	}
}

func isTableOrColumn(object string) bool {
	return strings.HasPrefix(object, "table ") || strings.HasPrefix(object, "column ")
}

// declaredSources returns what the steps say of where rows and values come from. What is
// moved comes from what it was.
func declaredSources(steps []Step) map[string][]string {
	declared := map[string][]string{}
	for _, step := range steps {
		maps.Copy(declared, step.moves.from)
		for old, now := range step.moves.moved {
			if declared[now] == nil {
				declared[now] = []string{old}
			}
		}
	}
	return declared
}

// was reports whether an object was there before, and stays until the steps.
func (p passage) was(object string) bool {
	_, ok := p.before[object]
	table, _, _ := strings.Cut(object[strings.IndexByte(object, ' ')+1:], ".")
	return ok && !p.remade[table]
}

// is reports whether an object is there afterwards.
func (p passage) is(object string) bool {
	_, ok := p.after[object]
	return ok
}

// trace follows an object back to those that it comes from and for which there holds. It
// returns none for a table that begins empty.
func trace(object string, declared map[string][]string, there func(string) bool) []string {
	if there(object) {
		return []string{object}
	}
	var found []string
	for _, source := range declared[object] {
		for _, origin := range trace(source, declared, there) {
			if !slices.Contains(found, origin) {
				found = append(found, origin)
			}
		}
	}
	return found
}

// orDefault returns the tables that a new table takes its grants from: those that its
// rows come from, or projects.
func orDefault(sources []string) []string {
	if len(sources) == 0 {
		return []string{"table projects"}
	}
	return sources
}

// carried is what becomes of attachments.
type carried struct {
	unfit []attachment // with which nothing can be done
	lost  []attachment // that have no place afterwards
	aside []attachment // that step aside before the steps
	put   []attachment // that are put on what is new, or put back
	after []attachment // that must be there afterwards

	before   []attachment            // all of them
	closed   []string                // the new tables, whose grants are those in put alone
	archives map[string][]attachment // what is put on an archive, if it is made
}

// carry decides what becomes of everything that is attached to the tables.
func (p passage) carry(attached []attachment) carried {
	c := carried{before: attached, archives: map[string][]attachment{}}
	c.closed = p.made()
	for _, table := range c.closed {
		c.spread(p, table, attached)
	}
	for object := range p.from {
		if strings.HasPrefix(object, "column ") {
			c.spreadColumn(p, object, attached)
		}
	}
	for object := range p.after {
		if enum, ok := strings.CutPrefix(object, "enum "); ok && !p.was(object) {
			c.ownEnum(enum, attached)
		}
	}
	var gone []attachment
	for _, a := range attached {
		switch now, ok := p.follow(a, attached); {
		case a.kind == "enum owner" && !ok: // that of the tables
		case slices.Contains([]string{"child", "parent", "type of table"}, a.kind):
			c.unfit = append(c.unfit, a)
		case ok:
			c.keep(p, a, now)
		default:
			gone = append(gone, a)
		}
	}
	for _, a := range gone {
		if !c.covers(p, a) {
			c.lost = append(c.lost, a)
		}
	}
	c.lost = slices.DeleteFunc(c.lost, func(a attachment) bool { return slices.ContainsFunc(c.lost, a.isPartOf) })
	for archive, sources := range p.archives {
		c.archives[archive] = forArchive(archive, sources, attached)
	}
	if oneOwner(attached) { // who makes what is new anyway
		isOwner := func(a attachment) bool { return a.kind == "owner" || a.kind == "enum owner" }
		c.put = slices.DeleteFunc(c.put, isOwner)
		for archive, put := range c.archives {
			c.archives[archive] = slices.DeleteFunc(put, isOwner)
		}
	}
	for _, list := range []*[]attachment{&c.unfit, &c.lost, &c.aside, &c.put, &c.after} {
		inOrderOfKinds(*list)
		*list = slices.Compact(*list)
	}
	return c
}

// isPartOf reports whether an attachment goes along with another, and need not be named:
// a comment on a foreign key, say.
func (a attachment) isPartOf(b attachment) bool {
	switch b.kind {
	case "foreign key":
		return (a.kind == "foreign key comment" || a.kind == "key trigger") && a.name == b.name && a.on == b.on
	case "index", "expression index":
		return a != b && a.table == b.table && a.name == b.name &&
			(strings.HasPrefix(a.kind, "index ") || a.kind == "cluster mark" || a.kind == "replica identity index")
	case "statistics", "expression statistics":
		return strings.HasPrefix(a.kind, "statistics ") && a.name == b.name
	}
	return false
}

// oneOwner reports whether one role owns all tables.
func oneOwner(attached []attachment) bool {
	owners := map[string]bool{}
	for _, a := range attached {
		if a.kind == "owner" {
			owners[a.definition] = true
		}
	}
	return len(owners) == 1
}

// made returns the tables that are new afterwards, the two version tables included.
func (p passage) made() []string {
	var made []string
	for object := range p.after {
		if table, ok := strings.CutPrefix(object, "table "); ok && !p.was(object) {
			made = append(made, table)
		}
	}
	slices.Sort(made)
	return made
}

// spread gives a new table what those who may use its source may do with it. Of several
// sources it takes the grants that are on all of them, and the row security of any.
func (c *carried) spread(p passage, table string, attached []attachment) {
	object := "table " + table
	rows := p.from[object]
	sources := orDefault(rows)
	version := isVersionTable(table)
	for _, a := range attached {
		k, _ := a.of()
		if "table "+a.table != sources[0] || !k.spreads || a.kind == "column grant" {
			continue
		}
		everywhere := !slices.ContainsFunc(sources, func(source string) bool {
			if a.kind == "sequence grant" && !p.hasSequence(source) {
				return false
			}
			return !slices.ContainsFunc(attached, same(a, source))
		})
		now := a
		now.table = table
		switch a.kind {
		case "row security":
			continue // below
		case "owner":
			if !a.may { // it may use the table at least
				now.kind = "use"
				c.put = append(c.put, now)
				if p.is("sequence " + table + "_id_seq") {
					now.kind = "sequence use"
					c.put = append(c.put, now)
				}
				continue
			}
		case "grant":
			if version && a.name != "SELECT" {
				continue
			}
		case "sequence grant":
			if !p.is("sequence " + table + "_" + a.column + "_seq") {
				continue
			}
		case "publication", "tablespace":
			if len(rows) == 0 {
				continue // its rows were in none
			}
			if everywhere && (!a.may || a.kind == "publication" && a.definition != "") {
				c.lost = append(c.lost, a)
			}
		}
		if everywhere {
			c.put, c.after = append(c.put, now), append(c.after, now)
		}
	}
	for _, a := range attached {
		if a.kind == "row security" && slices.Contains(sources, "table "+a.table) && !version {
			a.table = table
			c.put, c.after = append(c.put, a), append(c.after, a)
			break
		}
	}
}

func isVersionTable(table string) bool {
	return table == "schema_migrations" || table == "alembic_version"
}

// hasSequence reports whether a table had a sequence for its id.
func (p passage) hasSequence(table string) bool {
	_, ok := p.before["sequence "+strings.TrimPrefix(table, "table ")+"_id_seq"]
	return ok
}

// same returns a test for attachments like a that are on another table or column.
func same(a attachment, object string) func(attachment) bool {
	return func(b attachment) bool {
		kindOf, name, _ := strings.Cut(object, " ")
		table, column, _ := strings.Cut(name, ".")
		return b.kind == a.kind && b.table == table && b.name == a.name && b.definition == a.definition &&
			(kindOf == "table" || b.column == column)
	}
}

// spreadColumn gives a new column the grants that are on all of the columns that its
// values come from.
func (c *carried) spreadColumn(p passage, object string, attached []attachment) {
	sources := p.from[object]
	if len(sources) == 0 {
		return
	}
	table, column, _ := strings.Cut(strings.TrimPrefix(object, "column "), ".")
	for _, a := range attached {
		if a.kind != "column grant" || "column "+a.table+"."+a.column != sources[0] {
			continue
		}
		if slices.ContainsFunc(sources, func(source string) bool { return !slices.ContainsFunc(attached, same(a, source)) }) {
			continue
		}
		a.table, a.column = table, column
		c.put, c.after = append(c.put, a), append(c.after, a)
	}
}

// ownEnum gives a new enum to the owner of projects.
func (c *carried) ownEnum(enum string, attached []attachment) {
	for _, a := range attached {
		if a.kind == "owner" && a.table == "projects" && a.may {
			a.kind, a.table = "enum owner", enum
			c.put = append(c.put, a)
		}
	}
}

// forArchive returns what is put on an archive: who could read its source may read it.
func forArchive(archive string, sources []string, attached []attachment) []attachment {
	var put []attachment
	for _, a := range attached {
		if !slices.Contains(sources, "table "+a.table) {
			continue
		}
		a.table = archive
		switch {
		case a.kind == "owner" && !a.may:
			a.kind = "use"
		case a.kind == "row security", a.kind == "owner", a.kind == "grant" && a.name == "SELECT":
		default:
			continue
		}
		put = append(put, a)
	}
	inOrderOfKinds(put)
	return slices.Compact(put)
}

// follow returns what an attachment is after the steps, if it can stay, or be put, where
// it is or on what that has become. attached are all attachments.
func (p passage) follow(a attachment, attached []attachment) (attachment, bool) {
	k, _ := a.of()
	switch {
	case slices.Contains([]string{"type user", "enum owner", "type grant", "type closed", "type comment", "type label"}, a.kind):
		return a, p.is("enum "+a.table) && (k.make != "" || !p.remade[a.table])
	case a.kind == "forced row security":
		return a, false
	case a.kind == "key trigger":
		return p.followKeyTrigger(a)
	case !p.is("table " + a.table):
		return p.followMoved(a, k)
	case p.remade[a.table] && (k.make == "" || k.attaches):
		return a, false
	case a.column != "" && a.kind != "index statistics" && !p.is("column "+a.table+"."+a.column):
		return p.followMoved(a, k)
	case a.isOnConstraint(attached) && !p.is("constraint "+a.table+"."+a.name) && !p.is("index "+a.table+"."+a.name):
		return p.followMoved(a, k)
	}
	return a, p.survives(a)
}

// isOnConstraint reports whether an attachment is on one of PEPhub's constraints or
// indexes, rather than on an operator's own index, with which it stays.
func (a attachment) isOnConstraint(attached []attachment) bool {
	switch a.kind {
	case "index form", "key user", "constraint comment":
		return true
	case "index options", "index tablespace", "index statistics", "index comment", "cluster mark", "replica identity index":
		return !slices.ContainsFunc(attached, func(b attachment) bool {
			return (b.kind == "index" || b.kind == "expression index") && b.table == a.table && b.name == a.name
		})
	}
	return false
}

// followMoved follows an attachment to what its table, column or constraint has become,
// if a step says so.
func (p passage) followMoved(a attachment, k kind) (attachment, bool) {
	if k.make == "" || k.spreads || k.attaches {
		return a, false
	}
	object := "table " + a.table
	switch {
	case a.column != "" && a.kind != "index statistics":
		object = "column " + a.table + "." + a.column
	case a.name != "":
		object = "constraint " + a.table + "." + a.name
	}
	now, ok := p.moved[object]
	if !ok || !p.is(now) {
		return a, false
	}
	_, now, _ = strings.Cut(now, " ")
	table, part, _ := strings.Cut(now, ".")
	a.table = table
	if strings.HasPrefix(object, "column ") {
		a.column = part
	} else if strings.HasPrefix(object, "constraint ") {
		a.name = part
	}
	return a, true
}

// followKeyTrigger returns where a foreign key's trigger is afterwards: on the table of
// the key, or on that to which it refers, which may be another then.
func (p passage) followKeyTrigger(a attachment) (attachment, bool) {
	on := p.ours(a.on)
	definition, ok := p.after["constraint "+on+"."+a.name]
	if !ok { // of a table that is not PEPhub's
		return a, p.is("table "+a.table) && p.before["constraint "+on+"."+a.name] == ""
	}
	if !strings.Contains(a.definition, "RI_FKey_check") {
		_, referenced, _ := strings.Cut(definition, " references ")
		a.table, _, _ = strings.Cut(referenced, " ")
	}
	return a, true
}

// ours returns the name of a table of PEPhub's that is written with its schema, or "" for
// any other table.
func (p passage) ours(table string) string {
	name, ok := strings.CutPrefix(table, p.schema+".")
	if !ok {
		return ""
	}
	return name
}

// survives reports whether an attachment to a table that stays can live with what becomes
// of the columns that it needs.
func (p passage) survives(a attachment) bool {
	for _, name := range a.needs() {
		column := "column " + a.table + "." + name
		was, now := typeOf(p.before[column]), typeOf(p.after[column])
		switch {
		case !p.is(column):
			return false
		case was == now:
			continue
		}
		switch a.kind {
		case "index", "statistics":
			if now == "json" || strings.Contains(a.definition, "int8_") || strings.Contains(a.definition, "int4_") { // no operators for the type
				return false
			}
		case "expression index", "expression statistics":
			if !(isString(was) && isString(now)) && !(isInteger(was) && isInteger(now)) { // else the expression may mean nothing
				return false
			}
		case "policy", "trigger", "rule", "dependent", "publication": // PostgreSQL changes no type under these
			return false
		}
	}
	switch a.kind {
	case "row type column": // PostgreSQL refuses some changes of a table whose rows are a column of another
		return !p.changes(a.table)
	case "not null comment":
		return strings.Contains(p.after["column "+a.table+"."+a.column], " not null")
	case "index form":
		return !p.refilled[a.table] && !p.altersConstraint(a.table, a.name)
	}
	return true
}

// typeOf returns the type in the definition of a column.
func typeOf(definition string) string {
	for _, end := range []string{" collate ", " not null", " generated", " identity", " default "} {
		definition, _, _ = strings.Cut(definition, end)
	}
	return definition
}

func isString(name string) bool {
	name, _, _ = strings.Cut(name, "(")
	return name == "text" || name == "character varying"
}

func isInteger(name string) bool { return name == "integer" || name == "bigint" }

// changes reports whether a table has other columns afterwards.
func (p passage) changes(table string) bool {
	for _, shape := range []schema.Shape{p.before, p.after} {
		for object := range shape {
			if strings.HasPrefix(object, "column "+table+".") && p.before[object] != p.after[object] {
				return true
			}
		}
	}
	return false
}

func (p passage) altersConstraint(table, name string) bool {
	constraint := "constraint " + table + "." + name
	return p.before[constraint] != p.after[constraint]
}

// keep takes down what must be there afterwards, and what is to be done for it.
func (c *carried) keep(p passage, a, now attachment) {
	k, _ := a.of()
	switch {
	case k.name == "trigger" || k.name == "rule":
		if a.definition != "DISABLE" && (!p.idle || isVersionTable(a.table)) {
			c.aside, c.put = append(c.aside, a), append(c.put, now)
		}
	case k.name == "foreign key":
		if p.disturbs(a) {
			if !a.may {
				c.lost = append(c.lost, a)
			}
			c.aside, c.put = append(c.aside, a), append(c.put, now)
		}
	case k.name == "sequence options" && p.overflows(now):
		c.lost = append(c.lost, a)
	case k.name != "owner" && k.name != "enum owner" && k.make != "" && (now != a || p.remade[a.table] || k.again && p.forgets(a, c.before)):
		if !a.may {
			c.lost = append(c.lost, a)
		}
		c.put = append(c.put, now)
		if k.aside != "" && !p.remade[a.table] {
			c.aside = append(c.aside, a)
		}
	}
	switch k.name {
	case "index", "expression index", "statistics", "expression statistics":
		if p.retypes(a.table, "") {
			now.definition = respelt
		}
	}
	if k.name != "owner" && k.name != "enum owner" || !p.remade[a.table] {
		c.after = append(c.after, now)
	}
}

// forgets reports whether a step, or PostgreSQL when it changes the type of a column, may
// make anew what a setting is on.
func (p passage) forgets(a attachment, attached []attachment) bool {
	on := p.ours(a.on)
	switch {
	case a.kind == "column storage" || a.kind == "column compression":
		return p.retypes(a.table, a.column)
	case a.kind == "foreign key comment" || a.kind == "key trigger":
		return p.refilled[a.table] || p.retypes(a.table, "") || p.retypes(on, "") || p.altersUnique(a.table) || p.remakes(on, a.name)
	case a.isOnConstraint(attached):
		return p.retypes(a.table, "") || p.remakes(a.table, a.name)
	}
	return p.retypes(a.table, "")
}

// remakes reports whether a step makes a constraint anew: one of a table that it fills
// anew, or that refers to it.
func (p passage) remakes(table, name string) bool {
	if p.refilled[table] || p.altersConstraint(table, name) {
		return true
	}
	_, referenced, _ := strings.Cut(p.before["constraint "+table+"."+name], " references ")
	referenced, _, _ = strings.Cut(referenced, " ")
	return p.refilled[referenced]
}

// retypes reports whether a column of a table that stays, or any of its columns, has
// another type afterwards.
func (p passage) retypes(table, name string) bool {
	for object, was := range p.before {
		now, ok := p.after[object]
		of, column, _ := strings.Cut(strings.TrimPrefix(object, "column "), ".")
		if ok && strings.HasPrefix(object, "column ") && of == table && (name == "" || name == column) && typeOf(was) != typeOf(now) {
			return true
		}
	}
	return false
}

// altersUnique reports whether what makes rows of a table unique is another afterwards.
func (p passage) altersUnique(table string) bool {
	for object, was := range p.before {
		if strings.HasPrefix(object, "constraint "+table+".") && !strings.HasPrefix(was, "foreign key") && p.after[object] != was {
			return true
		}
	}
	return false
}

// disturbs reports whether a foreign key of another table has to step aside: because its
// table is emptied, or because what makes the columns unique is made anew, or their type
// is another.
func (p passage) disturbs(a attachment) bool {
	if p.refilled[a.table] {
		return true
	}
	columns := strings.Split(a.columns, ",")
	slices.Sort(columns)
	for object, definition := range p.before {
		_, list, ok := strings.Cut(definition, " (")
		if !strings.HasPrefix(object, "constraint "+a.table+".") || !ok || strings.HasPrefix(definition, "foreign key") || p.after[object] == definition {
			continue
		}
		unique := strings.Split(strings.TrimSuffix(list, ")"), ", ")
		slices.Sort(unique)
		if slices.Equal(unique, columns) {
			return true
		}
	}
	return slices.ContainsFunc(columns, func(name string) bool {
		column := "column " + a.table + "." + name
		return typeOf(p.before[column]) != typeOf(p.after[column])
	})
}

// overflows reports whether a bound of a sequence does not fit its type afterwards.
func (p passage) overflows(a attachment) bool {
	if !strings.HasPrefix(p.after["sequence "+a.table+"_"+a.column+"_seq"], "integer ") {
		return false
	}
	return slices.ContainsFunc(strings.Fields(a.definition), func(word string) bool {
		number, err := strconv.ParseInt(word, 10, 64)
		return err == nil && (number > math.MaxInt32 || number < math.MinInt32)
	})
}

// covers reports whether what spreads from a table or column that goes is on all that a
// step makes of it, or, on the way down, would be given again by the way up.
func (c *carried) covers(p passage, a attachment) bool {
	k, _ := a.of()
	if !k.spreads || p.is("table "+a.table) && a.column == "" {
		return false
	}
	if a.kind == "owner" {
		return true
	}
	object := "table " + a.table
	if a.kind == "column grant" {
		object += "." + a.column
		object = "column" + strings.TrimPrefix(object, "table")
	}
	on := func(now string) bool { return slices.ContainsFunc(c.after, same(a, now)) }
	for now, sources := range p.from {
		if slices.Contains(sources, object) && on(now) {
			return true
		}
	}
	for _, sources := range p.archives {
		if slices.Contains(sources, object) && a.kind == "grant" && a.name == "SELECT" {
			return true
		}
	}
	back, ok := p.back[object]
	if a.kind != "column grant" {
		back = orDefault(back)
	}
	return ok && len(back) > 0 && !slices.ContainsFunc(back, func(again string) bool { return !on(again) })
}
