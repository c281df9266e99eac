package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// differ returns the statements that lead from one database to another, both of them on
// the scratch server, as stripe/pg-schema-diff has it. It is no part of this module,
// which would have to take its pgx v4 too: differ.mod has it.
func differ(ctx context.Context, s *scratch, from, to, schemaName string) ([]statement, error) {
	command := exec.CommandContext(ctx, "go", "tool", "-modfile=migrations/revision/differ.mod", "pg-schema-diff", "plan",
		"--from-dsn", s.dsn(from), "--to-dsn", s.dsn(to), "--output-format", "json",
		// All steps share one transaction.
		"--no-concurrent-index-ops",
		// The order of the columns is the author's.
		"--data-pack-new-tables=false",
		// The whole draft is tried out later.
		"--disable-plan-validation")
	command.Env = append(os.Environ(), "PGPASSWORD="+s.password)
	var output, complaint bytes.Buffer
	command.Stdout, command.Stderr = &output, &complaint
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("compare the two schemas with pg-schema-diff: %w\n%s", err, strings.TrimSpace(complaint.String()))
	}
	var plan struct {
		Statements []struct {
			DDL     string
			Hazards []struct{ Type, Message string }
		}
	}
	if err := json.Unmarshal(output.Bytes(), &plan); err != nil {
		return nil, fmt.Errorf("read what pg-schema-diff says: %w", err)
	}
	var statements []statement
	for _, planned := range plan.Statements {
		if strings.HasPrefix(planned.DDL, "CREATE TYPE ") {
			continue // a draft makes its enums from the catalogs: here a value with an apostrophe is not quoted
		}
		parsed, err := parse(planned.DDL, schemaName)
		if err != nil {
			return nil, fmt.Errorf("read what pg-schema-diff says: %w: %s", err, planned.DDL)
		}
		for i := range parsed {
			for _, hazard := range planned.Hazards {
				parsed[i].hazards = append(parsed[i].hazards, hazard.Type+": "+hazard.Message)
			}
		}
		statements = append(statements, parsed...)
	}
	return statements, nil
}
