// Package review reads the SQL of a step with PostgreSQL's own grammar, and says what in
// it would hurt a database that is in use: one with many rows, and with an application of
// the release before, which goes on running beside the step and after it.
//
// What the step itself makes is free: the rules are about tables that were there before.
// A large table is one that holds a row for each sample or its history, or documents:
// samples, subsamples, sample_history, project_history, views_samples, projects.
//
//	rewrite   a large table is written again, row by row, while nobody may read it
//	validate  a CHECK, a FOREIGN KEY or a NOT NULL is proved by a scan under the lock of its ALTER TABLE
//	index     a UNIQUE, PRIMARY KEY or EXCLUDE has its index built under that lock, which keeps readers out
//	not_null  a column becomes NOT NULL, and nothing fills it: the step fails as soon as there is a row
//	drop      rows, columns or values go, and nothing before it in the step writes them to a table archived_...
//	rename    what a running application calls by the old name is gone, and no enum is made anew under it
//	guard     a down file drops rows, and nothing before it reads pephub_migrate.allow_data_loss or writes them to archived_...
//	dynamic   what an EXECUTE, a DO block or a function does is not to be read in the file
//
// An archive holds a column that its query takes from the table as it is, or with another
// type, and not what an expression makes of it. For a column that goes its author says by
// a WHERE which rows matter. A table that goes leaves all its columns, of all rows. Where
// only the rows of a WHERE go, or a value becomes NULL, a way up may ask as a way back
// does.
//
// Not seen is what goes otherwise: a value that another one takes the place of, in an
// UPDATE or by the USING of ALTER COLUMN TYPE; rows that ON DELETE CASCADE or a trigger
// deletes; what a function does that was there before; and whether the rows that an
// archive's WHERE takes are those that go.
//
// A down file is held to guard and dynamic alone. A CHECK (c IS NOT NULL) that an earlier
// step added lets SET NOT NULL go without a scan. A shape does not have its text, so it
// is known by its name, which ends with _not_null.
//
// Where a rule is wrong, a comment directly above the statement says so, within a DO
// block too. There may be several, and other comments between:
//
//	-- allow drop: the rows are in schema_versions since the statement above
//	DROP TABLE schemas;
//
// The reason is required. An exception that nothing needs is a finding, and so is one of
// a rule that there is not; both are under the rule exception, which has no exceptions.
package review

import (
	"cmp"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"pephub-migrate/internal/migrator"
	"pephub-migrate/internal/schema"
)

// FirstReviewed is the first step that is reviewed. Those before repeat what pepdbagent's
// releases made of their tables: it is nobody's choice any more what they do.
const FirstReviewed = 15

// Own reviews the files of the steps from FirstReviewed on. It returns a line for each
// finding, which begins with the file, or an error for a file that cannot be read or
// parsed.
func Own(files fs.FS, steps migrator.Steps) ([]string, error) {
	var lines []string
	for i, step := range steps {
		if step.Number < FirstReviewed || i == 0 {
			continue
		}
		for _, side := range []struct {
			direction string
			review    func(string, schema.Shape) ([]Finding, error)
			before    schema.Shape
		}{
			{"up", Up, steps[i-1].Shape},
			{"down", Down, step.Shape},
		} {
			file := fmt.Sprintf("%06d_%s.%s.sql", step.Number, step.Name, side.direction)
			sql, err := fs.ReadFile(files, file)
			if err != nil {
				return nil, err
			}
			findings, err := side.review(string(sql), side.before)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			for _, finding := range findings {
				lines = append(lines, file+": "+finding.String())
			}
		}
	}
	return lines, nil
}

// Finding is something that would hurt a database that is in use.
type Finding struct {
	Line    int    // where the statement begins
	Rule    string // as an exception names it
	Problem string
	Safer   string // how the same is done without it
}

func (f Finding) String() string {
	return fmt.Sprintf("line %d: %s: %s; safer: %s", f.Line, f.Rule, f.Problem, f.Safer)
}

// Up returns what in an up file would hurt a database of the shape before, in the order
// of the file.
func Up(sql string, before schema.Shape) ([]Finding, error) { return review(sql, before, false) }

// Down returns the same of a down file. The shape before is that which the step's up file
// leaves behind.
func Down(sql string, before schema.Shape) ([]Finding, error) { return review(sql, before, true) }

func review(sql string, before schema.Shape, down bool) ([]Finding, error) {
	statements, err := parse(sql, 1)
	if err != nil {
		return nil, err
	}
	r := newReviewer(before, down)
	for _, s := range statements {
		r.line = s.line
		r.statement(s.item)
	}
	findings := except(r.findings, sql)
	slices.SortStableFunc(findings, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	return findings, nil
}

var (
	comment   = regexp.MustCompile(`^\s*--`)
	exception = regexp.MustCompile(`^\s*-- allow\b`)
	wellMade  = regexp.MustCompile(`^\s*-- allow ([a-z_]+): \S`)
	rules     = regexp.MustCompile(`^(rewrite|validate|index|not_null|drop|rename|guard|dynamic)$`)
)

// except takes out the findings that the file gives a reason for, and adds the exceptions
// that are none.
func except(findings []Finding, sql string) []Finding {
	lines := strings.Split(sql, "\n")
	for i := 0; i < len(lines); i++ {
		first := i
		for i < len(lines) && comment.MatchString(lines[i]) {
			i++
		}
		for number, text := range lines[first:i] {
			if !exception.MatchString(text) {
				continue
			}
			faulty := Finding{Line: first + number + 1, Rule: "exception", Safer: "-- allow RULE: reason"}
			match := wellMade.FindStringSubmatch(text)
			switch {
			case match == nil:
				faulty.Problem = "it has no rule or no reason"
			case !rules.MatchString(match[1]):
				faulty.Problem = fmt.Sprintf("there is no rule %q", match[1])
			default:
				left := slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.Line == i+1 && f.Rule == match[1] })
				if len(left) < len(findings) {
					findings = left
					continue
				}
				faulty.Problem, faulty.Safer = fmt.Sprintf("nothing on line %d needs it", i+1), "take it out"
			}
			findings = append(findings, faulty)
		}
	}
	return findings
}
