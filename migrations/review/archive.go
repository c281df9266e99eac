package review

import "maps"

// rows says how many rows of a table an archive holds.
type rows int

const (
	some rows = iota + 1 // those that a WHERE or a join leaves: it is for the step's author to know which those are
	all
)

// output is a column of a query's result that holds what a table's column does.
type output struct {
	name string
	of   column // named "*" beside the columns if all are there, whichever they are
	rows rows
}

// source is what a query reads under one name.
type source struct {
	alias   string
	outputs []output
}

// archives takes note of what a query writes to an archive. The WITH is one that stands
// before the INSERT.
func (r *reviewer) archives(query item, before node) {
	for _, o := range r.outputs(query, r.with(before, nil)) {
		r.archived[o.of] = max(r.archived[o.of], o.rows)
	}
}

// outputs returns the columns that a query takes from tables as they are, or with another
// type. What an expression makes of a column is not that column.
func (r *reviewer) outputs(query item, with map[string][]output) []output {
	with = r.with(query.node, with)
	most := extent(query.node)
	var sources []source
	list := "targetList"
	switch query.kind {
	case "SelectStmt":
		left, right := item{query.kind, query.node.node("larg")}, item{query.kind, query.node.node("rarg")}
		switch query.text("op") {
		case "SETOP_UNION":
			return limited(append(r.outputs(left, with), r.outputs(right, with)...), most)
		case "SETOP_EXCEPT", "SETOP_INTERSECT":
			return limited(r.outputs(left, with), min(most, some))
		}
		from := query.list("fromClause")
		if len(from) > 1 {
			most = min(most, some)
		}
		for _, one := range from {
			sources = append(sources, r.sources(one, with)...)
		}
	case "DeleteStmt":
		list = "returningList"
		sources = r.sources(item{"RangeVar", query.node.node("relation")}, with)
	}
	var outputs []output
	for _, target := range query.list(list) {
		outputs = append(outputs, chosen(target, sources)...)
	}
	return limited(outputs, most)
}

// extent returns which rows of what a query reads are in its result: all, some, or those
// that a constant or a LIMIT leaves, which are none to rely on.
func extent(query node) rows {
	where := query.item("whereClause")
	switch {
	case query["limitCount"] != nil || query["limitOffset"] != nil:
		return 0
	case always(where):
		if query["distinctClause"] != nil || query["groupClause"] != nil || query["havingClause"] != nil {
			return some
		}
		return all
	}
	most := rows(0)
	where.walk(func(i item) {
		if i.kind == "ColumnRef" {
			most = some
		}
	})
	return most
}

// always reports whether a WHERE takes every row.
func always(where item) bool { return where.kind == "" || where.node.node("boolval").flag("boolval") }

func limited(outputs []output, most rows) []output {
	var left []output
	for _, o := range outputs {
		if o.rows = min(o.rows, most); o.rows > 0 {
			left = append(left, o)
		}
	}
	return left
}

// with returns the queries that a statement gives names to, and those of the statements
// around it.
func (r *reviewer) with(n node, around map[string][]output) map[string][]output {
	ctes := n.node("withClause").list("ctes")
	if len(ctes) == 0 {
		return around
	}
	with := map[string][]output{}
	maps.Copy(with, around)
	for _, cte := range ctes {
		with[cte.text("ctename")] = renamedTo(r.outputs(cte.item("ctequery"), with), cte.list("aliascolnames"))
	}
	return with
}

// renamedTo takes the names off columns that are given others.
func renamedTo(outputs []output, names []item) []output {
	if len(names) == 0 {
		return outputs
	}
	var nameless []output
	for _, o := range outputs {
		o.name = ""
		nameless = append(nameless, o)
	}
	return nameless
}

// sources returns what a part of a FROM reads. A join leaves out rows of a side that need
// not be there for the other.
func (r *reviewer) sources(from item, with map[string][]output) []source {
	alias := from.node.node("alias")
	one := source{alias: alias.text("aliasname")}
	switch from.kind {
	case "RangeVar":
		name := from.text("relname")
		if one.alias == "" {
			one.alias = name
		}
		outputs, isQuery := with[name]
		if !isQuery || from.text("schemaname") != "" {
			outputs = r.outputsOf(tableOf(from.node))
		}
		one.outputs = outputs
	case "RangeSubselect":
		one.outputs = r.outputs(from.item("subquery"), with)
	case "JoinExpr":
		left, right := all, all
		switch from.text("jointype") {
		case "JOIN_LEFT":
			right = some
		case "JOIN_RIGHT":
			left = some
		case "JOIN_INNER":
			left, right = some, some
		}
		joined := append(
			limitedTo(r.sources(from.item("larg"), with), left),
			limitedTo(r.sources(from.item("rarg"), with), right)...,
		)
		if alias == nil {
			return joined
		}
		for _, s := range joined {
			one.outputs = append(one.outputs, s.outputs...)
		}
	}
	one.outputs = renamedTo(one.outputs, alias.list("colnames"))
	return []source{one}
}

func limitedTo(sources []source, most rows) []source {
	for i := range sources {
		sources[i].outputs = limited(sources[i].outputs, most)
	}
	return sources
}

// outputsOf returns the columns of a table.
func (r *reviewer) outputsOf(table string) []output {
	outputs := []output{{"*", column{table, "*"}, all}}
	for c := range r.columns {
		if c.table == table {
			outputs = append(outputs, output{c.name, c, all})
		}
	}
	return outputs
}

// chosen returns what one expression of a list of results takes from the sources.
func chosen(target item, sources []source) []output {
	val := uncast(target.item("val"))
	if val.kind != "ColumnRef" {
		return nil
	}
	fields := val.list("fields")
	name, qualifier := lastName(fields), lastName(fields[:len(fields)-1])
	star := fields[len(fields)-1].kind == "A_Star"
	var outputs []output
	for _, s := range sources {
		if qualifier != "" && s.alias != qualifier {
			continue
		}
		for _, o := range s.outputs {
			switch {
			case star:
				outputs = append(outputs, o)
			case o.name == name:
				if as := target.text("name"); as != "" {
					o.name = as
				}
				outputs = append(outputs, o)
			}
		}
	}
	return outputs
}

// uncast takes the casts off a value.
func uncast(value item) item {
	for value.kind == "TypeCast" {
		value = value.item("arg")
	}
	return value
}

// inArchive reports whether an archive holds a column, or all columns of a table, of as
// many rows as that.
func (r *reviewer) inArchive(c column, least rows) bool {
	holds := func(name string) bool { return r.archived[column{c.table, name}] >= least }
	switch {
	case holds("*"):
		return true
	case c.name != "":
		return holds(c.name)
	}
	known := false
	for of := range r.columns {
		if of.table == c.table && !holds(of.name) {
			return false
		}
		known = known || of.table == c.table
	}
	return known
}

// restores takes note of the archives whose rows a part of a statement reads. A condition
// reads them without giving them back.
func (r *reviewer) restores(value any) {
	if values, ok := value.([]any); ok {
		for _, value := range values {
			r.restores(value)
		}
		return
	}
	n := object(value)
	if extent(n) == 0 {
		return
	}
	for field := range n {
		switch field {
		case "whereClause", "havingClause", "quals", "joinCondition", "condition":
			continue
		case "RangeVar":
			r.restored[tableOf(n.node(field))] = true
		case "DeleteStmt":
			if n.node(field)["returningList"] != nil {
				r.restored[tableOf(n.node(field).node("relation"))] = true
			}
		}
		r.restores(n[field])
	}
}
