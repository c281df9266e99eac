package review

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	// Of the module's two packages the one without protobuf types: those come with C
	// code, which cgo would compile for minutes.
	"github.com/wasilibs/go-pgquery/parser"
)

// node is a node of PostgreSQL's syntax tree as libpg_query writes it in JSON: a field
// that is zero is left out. A field that may hold a node of any kind holds an object with
// one key, the kind; kinds begin with a capital, as no field does.
type node map[string]any

func (n node) text(field string) string { s, _ := n[field].(string); return s }

func (n node) flag(field string) bool { b, _ := n[field].(bool); return b }

func (n node) number(field string) int { f, _ := n[field].(float64); return int(f) }

// node returns a field that holds a node of one kind, nil if it is left out.
func (n node) node(field string) node { return object(n[field]) }

// item returns a field that holds a node of any kind.
func (n node) item(field string) item { return itemOf(n[field]) }

func (n node) list(field string) []item {
	var items []item
	values, _ := n[field].([]any)
	for _, value := range values {
		items = append(items, itemOf(value))
	}
	return items
}

func object(value any) node { n, _ := value.(map[string]any); return n }

// item is a node and its kind.
type item struct {
	kind string
	node
}

func itemOf(value any) item {
	for kind, n := range object(value) {
		return item{kind, object(n)}
	}
	return item{}
}

// walk calls visit for the item and for everything within.
func (i item) walk(visit func(item)) {
	visit(i)
	i.node.walk(visit)
}

func (n node) walk(visit func(item)) {
	for _, field := range slices.Sorted(maps.Keys(n)) {
		values, isList := n[field].([]any)
		if !isList {
			values = []any{n[field]}
		}
		for _, value := range values {
			if unicode.IsUpper(rune(field[0])) {
				item{field, object(value)}.walk(visit)
			} else {
				object(value).walk(visit)
			}
		}
	}
}

// The kinds of statement that are not PostgreSQL's.
const (
	expression = "expression" // of PL/pgSQL
	unreadable = "unreadable" // whose text is known when it runs
)

// statement is a statement at the top of a file, or within the body of a DO block or
// function.
type statement struct {
	line int
	item
}

// parse returns the statements of a text that begins on this line of the file, those of
// bodies where the body stands.
func parse(sql string, line int) ([]statement, error) {
	tree, err := parser.ParseToJSON(sql)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", errorLine(err, sql, line), err)
	}
	var parsed struct {
		Stmts []struct {
			Stmt     map[string]any
			Location int `json:"stmt_location"`
		}
	}
	if err := json.Unmarshal([]byte(tree), &parsed); err != nil {
		return nil, fmt.Errorf("line %d: read the syntax tree: %w", line, err)
	}
	var all []statement
	for i, raw := range parsed.Stmts {
		begin, end := begin(sql, raw.Location), len(sql)
		if i+1 < len(parsed.Stmts) {
			end = parsed.Stmts[i+1].Location
		}
		s := statement{line + strings.Count(sql[:begin], "\n"), itemOf(raw.Stmt)}
		inner := []statement{s}
		switch s.kind {
		case "DoStmt":
			inner, err = body(s, s.list("args"), sql[begin:end])
		case "CreateFunctionStmt":
			inner, err = body(s, s.list("options"), sql[begin:end])
		}
		if err != nil {
			return nil, err
		}
		all = append(all, inner...)
	}
	return all, nil
}

// blank is what may stand before a statement: PostgreSQL counts it as part of it.
var blank = regexp.MustCompile(`^(?s:\s+|--[^\n]*|/\*.*?\*/)+`)

// begin returns where the first word of the statement at this offset stands.
func begin(sql string, offset int) int { return offset + len(blank.FindString(sql[offset:])) }

// body returns the statements in the body of a DO block or a function: a function is
// reviewed as if it ran where it is made.
func body(s statement, options []item, sql string) ([]statement, error) {
	language, text := "sql", ""
	if s.kind == "DoStmt" {
		language = "plpgsql"
	}
	for _, option := range options {
		switch option.text("defname") {
		case "language":
			language = option.item("arg").text("sval")
		case "as":
			text = option.item("arg").text("sval")
			if list := option.item("arg").list("items"); len(list) > 0 {
				text = list[0].text("sval")
			}
		}
	}
	line := s.line
	if i := strings.Index(sql, text); i > 0 { // it is not there as it reads if it has doubled quotes
		line += strings.Count(sql[:i], "\n")
	}
	switch {
	case language == "plpgsql" && text != "":
		return block(sql, text, line)
	case language == "sql" && text != "":
		return parse(text, line)
	case language == "sql": // BEGIN ATOMIC: the body is part of the tree
		return []statement{s}, nil
	}
	return []statement{{s.line, item{kind: unreadable}}}, nil
}

// block returns the statements of a text in PL/pgSQL that begins on this line of the
// file; sql is the command around it.
func block(sql, text string, line int) ([]statement, error) {
	tree, err := parser.ParsePlPgSqlToJSON(sql)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", errorLine(err, text, line), err)
	}
	var functions any
	if err := json.Unmarshal([]byte(tree), &functions); err != nil {
		return nil, fmt.Errorf("line %d: read the syntax tree: %w", line, err)
	}
	var all []statement
	if err := plpgsql(functions, line, line, &all); err != nil {
		return nil, err
	}
	// A tree says nothing of the order of an object's fields: the body of a loop comes
	// before its query there.
	slices.SortStableFunc(all, func(a, b statement) int { return a.line - b.line })
	return all, nil
}

// plpgsql adds the statements under a node of PL/pgSQL's own tree. Its line numbers count
// from the line of the opening quote.
func plpgsql(value any, first, line int, all *[]statement) error {
	if values, ok := value.([]any); ok {
		for _, value := range values {
			if err := plpgsql(value, first, line, all); err != nil {
				return err
			}
		}
		return nil
	}
	n := object(value)
	if number := n.number("lineno"); number > 0 {
		line = first + number - 1
	}
	for _, field := range slices.Sorted(maps.Keys(n)) {
		var err error
		switch below := object(n[field]); field {
		case "PLpgSQL_expr":
			err = query(below, line, all)
		case "dynquery":
			err = execute(below, line, all)
		case "PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors": // they call it a query, others a dynquery
			below["dynquery"] = below["query"]
			delete(below, "query")
			fallthrough
		default:
			err = plpgsql(n[field], first, line, all)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// query adds an SQL statement of PL/pgSQL. Of its expressions those matter that look at
// whether data may be lost.
func query(expr node, line int, all *[]statement) error {
	text := expr.text("query")
	if expr.number("parseMode") > 0 {
		if strings.Contains(text, "current_setting('"+allowed+"'") {
			*all = append(*all, statement{line, item{kind: expression}})
		}
		return nil
	}
	statements, err := parse(text, line)
	*all = append(*all, statements...)
	return err
}

// execute adds the statements in the text that an EXECUTE is given, if that is a
// constant.
func execute(expr node, line int, all *[]statement) error {
	statements, err := parse("SELECT "+expr.node("PLpgSQL_expr").text("query"), line)
	if err != nil {
		return err
	}
	var constant node
	if targets := statements[0].list("targetList"); len(targets) == 1 {
		constant = targets[0].item("val").node.node("sval")
	}
	if constant == nil {
		*all = append(*all, statement{line, item{kind: unreadable}})
		return nil
	}
	if statements, err = parse(constant.text("sval"), line); err != nil {
		return err
	}
	for _, s := range statements { // wherever it stands in the text: the exception stands above EXECUTE
		*all = append(*all, statement{line, s.item})
	}
	return nil
}

var (
	nearLine = regexp.MustCompile(`near line (\d+)`)
	nearWord = regexp.MustCompile(`at or near "(.*)"`)
)

// errorLine says where the error is in a text that begins on this line. Within PL/pgSQL
// the parser knows the statement before the one with the error, and mostly the word at
// which it stopped.
func errorLine(err error, text string, line int) string {
	var at *parser.Error
	if !errors.As(err, &at) {
		return fmt.Sprintf("line %d", line)
	}
	if at.Cursorpos > 0 {
		return fmt.Sprintf("line %d", line+strings.Count(text[:min(at.Cursorpos-1, len(text))], "\n"))
	}
	if match := nearLine.FindStringSubmatch(at.Context); match != nil {
		near, _ := strconv.Atoi(match[1])
		for range near - 1 {
			_, text, _ = strings.Cut(text, "\n")
		}
		line += near - 1
	}
	if match := nearWord.FindStringSubmatch(at.Message); match != nil {
		before, _, _ := strings.Cut(text, match[1])
		return fmt.Sprintf("line %d", line+strings.Count(before, "\n"))
	}
	return fmt.Sprintf("at or after line %d", line)
}
