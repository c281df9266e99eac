package main

import (
	"fmt"
	"io"
	"os"

	pganalyze "github.com/pganalyze/pg_query_go/v6"
)

// alembic is what "alembic upgrade A:B --sql" prints, without the transaction and the
// version table.
type alembic struct {
	statements []statement
	from, to   string // revisions
}

// readAlembic reads it from a file, and sees that it begins at a revision.
func readAlembic(name, begin string) (alembic, error) {
	source := os.Stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return alembic{}, err
		}
		defer file.Close()
		source = file
	}
	text, err := io.ReadAll(source)
	if err != nil {
		return alembic{}, err
	}
	printed, err := parseAlembic(string(text))
	if err == nil && printed.from != begin {
		err = fmt.Errorf("the SQL begins at revision %s, and the newest step is at %s: alembic upgrade %[2]s:%s --sql", printed.from, begin, printed.to)
	}
	return printed, err
}

// parseAlembic takes it apart.
func parseAlembic(text string) (alembic, error) {
	parsed, err := parse(text, "public")
	if err != nil {
		return alembic{}, fmt.Errorf("what Alembic printed is not SQL for PostgreSQL: %w", err)
	}
	var a alembic
	for _, s := range parsed {
		switch node := s.node.GetNode().(type) {
		case *pganalyze.Node_TransactionStmt:
			continue
		case *pganalyze.Node_CreateStmt:
			if node.CreateStmt.GetRelation().GetRelname() == versionTable {
				continue
			}
		case *pganalyze.Node_RenameStmt:
			if node.RenameStmt.GetRenameType() == pganalyze.ObjectType_OBJECT_TABLE {
				name := node.RenameStmt.GetRelation().GetRelname()
				return alembic{}, fmt.Errorf("the SQL renames the table %s, and its sequence and constraints keep their names; rename it in schema.sql, "+
					"draft the step without -from-alembic, and write ALTER TABLE %[1]s RENAME TO %s, and the same for those, where the draft drops one table and makes the other",
					name, node.RenameStmt.GetNewname())
			}
		case *pganalyze.Node_InsertStmt:
			if node.InsertStmt.GetRelation().GetRelname() == versionTable {
				return alembic{}, fmt.Errorf("the SQL begins before Alembic's first revision; name the newest that there is a step for: alembic upgrade A:B --sql")
			}
		case *pganalyze.Node_UpdateStmt:
			if node.UpdateStmt.GetRelation().GetRelname() == versionTable {
				from := node.UpdateStmt.GetWhereClause().GetAExpr().GetRexpr().GetAConst().GetSval().GetSval()
				if a.to != "" && a.to != from {
					return alembic{}, fmt.Errorf("revision %s does not follow on %s", from, a.to)
				}
				if a.from == "" {
					a.from = from
				}
				for _, target := range node.UpdateStmt.GetTargetList() {
					a.to = target.GetResTarget().GetVal().GetAConst().GetSval().GetSval()
				}
				continue
			}
		}
		a.statements = append(a.statements, s)
	}
	if a.to == "" {
		return alembic{}, fmt.Errorf("the SQL does not say which revision it leads to: there is no UPDATE of %s in it", versionTable)
	}
	return a, nil
}

const versionTable = "alembic_version"

// sql returns the statements as one text.
func (a alembic) sql() (string, error) {
	var text string
	for _, s := range a.statements {
		one, err := s.sql()
		if err != nil {
			return "", err
		}
		text += one
	}
	return text, nil
}
