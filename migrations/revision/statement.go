package main

import (
	"fmt"
	"regexp"
	"strings"

	pganalyze "github.com/pganalyze/pg_query_go/v6"
	pgquery "github.com/wasilibs/go-pgquery"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// statement is one statement of the differ's or of Alembic's, without the schema's name
// and the collation that both write out.
type statement struct {
	node    *pganalyze.Node
	hazards []string // what the differ warns of
	written string   // as somebody wrote it, if it is to stay so: one that moves rows
}

// parse returns the statements of a text, parsed by PostgreSQL's own grammar.
func parse(text, schemaName string) ([]statement, error) {
	tree, err := pgquery.Parse(text)
	if err != nil {
		return nil, err
	}
	var statements []statement
	for _, raw := range tree.GetStmts() {
		unqualify(raw.GetStmt().ProtoReflect(), schemaName)
		one := statement{node: raw.GetStmt()}
		switch raw.GetStmt().GetNode().(type) {
		case *pganalyze.Node_InsertStmt, *pganalyze.Node_UpdateStmt, *pganalyze.Node_DeleteStmt, *pganalyze.Node_SelectStmt, *pganalyze.Node_DoStmt:
			end := len(text)
			if raw.GetStmtLen() > 0 {
				end = int(raw.GetStmtLocation() + raw.GetStmtLen())
			}
			one.written = uncommented(text[raw.GetStmtLocation():end])
			if strings.Contains(one.written[strings.LastIndexByte(one.written, '\n')+1:], "--") {
				one.written += "\n" // or the semicolon would be part of the comment
			}
		}
		statements = append(statements, one)
	}
	return statements, nil
}

// uncommented returns a statement without what stands above it.
func uncommented(text string) string {
	text = strings.TrimSpace(text)
	for strings.HasPrefix(text, "--") {
		_, text, _ = strings.Cut(text, "\n")
		text = strings.TrimSpace(text)
	}
	return text
}

// sql returns the statement in one line, or as it was written.
func (s statement) sql() (string, error) {
	if s.written != "" {
		return s.written + ";\n", nil
	}
	text, err := deparse(s.node)
	return text + ";\n", err
}

func deparse(node *pganalyze.Node) (string, error) {
	return pgquery.Deparse(&pganalyze.ParseResult{Stmts: []*pganalyze.RawStmt{{Stmt: node}}})
}

// command returns what one command of an ALTER TABLE says, without the table: "DROP
// COLUMN genome".
func command(alter *pganalyze.AlterTableStmt, one *pganalyze.Node) (string, error) {
	single, ok := proto.Clone(alter).(*pganalyze.AlterTableStmt)
	if !ok {
		return "", fmt.Errorf("%T is no copy of an ALTER TABLE", single)
	}
	single.Cmds = nil
	prefix, err := deparse(&pganalyze.Node{Node: &pganalyze.Node_AlterTableStmt{AlterTableStmt: single}})
	if err != nil {
		return "", err
	}
	single.Cmds = []*pganalyze.Node{one}
	text, err := deparse(&pganalyze.Node{Node: &pganalyze.Node_AlterTableStmt{AlterTableStmt: single}})
	return strings.TrimSpace(strings.TrimPrefix(text, strings.TrimSpace(prefix))), err
}

// unqualify takes the name of a schema out of every name in a tree, and the default
// collation out of every column.
func unqualify(message protoreflect.Message, schemaName string) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				unqualify(value.List().Get(i).Message(), schemaName)
			}
		default:
			unqualify(value.Message(), schemaName)
		}
		return true
	})
	switch node := message.Interface().(type) {
	case *pganalyze.RangeVar:
		if node.Schemaname == schemaName {
			node.Schemaname = ""
		}
	case *pganalyze.TypeName:
		node.Names = withoutSchema(node.Names, schemaName)
	case *pganalyze.CreateEnumStmt:
		node.TypeName = withoutSchema(node.TypeName, schemaName)
	case *pganalyze.AlterEnumStmt:
		node.TypeName = withoutSchema(node.TypeName, schemaName)
	case *pganalyze.DropStmt:
		for _, object := range node.Objects {
			if list := object.GetList(); list != nil {
				list.Items = withoutSchema(list.Items, schemaName)
			}
		}
	case *pganalyze.ColumnDef:
		if names := node.GetCollClause().GetCollname(); len(names) > 0 && names[len(names)-1].GetString_().GetSval() == "default" {
			node.CollClause = nil
		}
	case *pganalyze.AlterSeqStmt:
		for _, option := range node.Options {
			if list := option.GetDefElem().GetArg().GetList(); list != nil {
				list.Items = withoutSchema(list.Items, schemaName)
			}
		}
	}
}

// relations returns the names of all relations in a tree.
func relations(message protoreflect.Message) []string {
	var names []string
	if relation, ok := message.Interface().(*pganalyze.RangeVar); ok {
		names = append(names, relation.Relname)
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				names = append(names, relations(value.List().Get(i).Message())...)
			}
		default:
			names = append(names, relations(value.Message())...)
		}
		return true
	})
	return names
}

func withoutSchema(names []*pganalyze.Node, schemaName string) []*pganalyze.Node {
	if len(names) > 1 && names[0].GetString_().GetSval() == schemaName {
		return names[1:]
	}
	return names
}

var (
	openingQuote = regexp.MustCompile(`\b[eE]'|'|"|\$(?:[A-Za-z_]\w*)?\$`)
	escaped      = regexp.MustCompile(`^(?s:[^'\\]|\\.)*'`) // the rest of an E'...'
)

// outsideQuotes changes what of a text stands neither in a literal nor in a quoted name.
func outsideQuotes(text string, change func(string) string) string {
	var changed strings.Builder
	for text != "" {
		begin, end := len(text), len(text)
		if at := openingQuote.FindStringIndex(text); at != nil {
			begin = at[0]
			if length := toClosingQuote(text[at[0]:at[1]], text[at[1]:]); length >= 0 {
				end = at[1] + length
			}
		}
		changed.WriteString(change(text[:begin]) + text[begin:end])
		text = text[end:]
	}
	return changed.String()
}

// toClosingQuote returns how long the rest of what is quoted is, with the closing quote,
// or -1. Of a doubled quote the second opens what follows on.
func toClosingQuote(opening, rest string) int {
	if strings.EqualFold(opening, "e'") {
		return len(escaped.FindString(rest))
	}
	if at := strings.Index(rest, opening); at >= 0 {
		return at + len(opening)
	}
	return -1
}

// last returns the last part of a name.
func last(names []*pganalyze.Node) string {
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1].GetString_().GetSval()
}

// dropped returns the names that a DROP names.
func dropped(drop *pganalyze.DropStmt) []string {
	var names []string
	for _, object := range drop.GetObjects() {
		switch {
		case object.GetList() != nil:
			names = append(names, last(object.GetList().GetItems()))
		case object.GetTypeName() != nil:
			names = append(names, last(object.GetTypeName().GetNames()))
		}
	}
	return names
}
