package migrator

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pephub-migrate/internal/schema"
)

// Step is one version of the schema and the way to and from it.
type Step struct {
	Number   int            // as in schema_migrations
	Name     string         // as in its files' names
	Release  string         // who makes this schema: "pepdbagent 0.11.1"
	Revision string         // what alembic_version says at this step; empty for a schema older than Alembic's
	Oldest   int            // the oldest step whose applications can work on this schema
	Shape    schema.Shape   // what the step leaves behind
	Variants []schema.Shape // what others leave behind who mean the same schema

	up, down string
	costs    costs
	moves    moves
}

// costs is what a step asks of the database it runs on. Its plan says so.
type costs struct {
	locks    map[string]string        // by table: the strongest lock that it may take, until the commit, as LOCK TABLE spells it
	work     map[string]time.Duration // by table: how long it takes for each megabyte, as measured on two cores
	archives map[string]string        // by archived_... table: the table whose rows may go there
}

// matches reports whether a database of this shape is at this step.
func (s Step) matches(shape schema.Shape) bool {
	for _, known := range s.shapes() {
		if len(shape.Diff(known)) == 0 {
			return true
		}
	}
	return false
}

// shapes returns the step's own shape and its variants.
func (s Step) shapes() []schema.Shape {
	return append([]schema.Shape{s.Shape}, s.Variants...)
}

// Steps are all steps in order. Their numbers have no gap, but need not begin with 1.
type Steps []Step

// newest is the last step.
func (s Steps) newest() Step { return s[len(s)-1] }

// find returns the step with that number.
func (s Steps) find(number int) (Step, bool) {
	i := number - s[0].Number
	if i < 0 || i >= len(s) {
		return Step{}, false
	}
	return s[i], true
}

// snapshots returns every shape that any of the steps knows.
func (s Steps) snapshots() []schema.Shape {
	var shapes []schema.Shape
	for _, step := range s {
		shapes = append(shapes, step.shapes()...)
	}
	return shapes
}

var (
	stepFile = regexp.MustCompile(`^(\d{6})_([a-z0-9_]+)\.(?:(up|down)\.sql|(?:([a-z0-9_]+)\.)?schema\.txt)$`)
	revision = regexp.MustCompile(`^[0-9a-f]{12}$`)
)

// Load reads the steps from the top of fsys and sees that the set is whole.
// golang-migrate by itself would pass over a file whose name it does not understand, and
// take a step without an up file for one with nothing to do. What stands in the SQL is
// left to Check: it takes longer than all the rest of a run that finds nothing to do.
func Load(fsys fs.FS) (Steps, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("read the steps: %w", err)
	}
	byNumber := map[int]*Step{}
	var faults []error
	for _, entry := range entries {
		if err := addFile(byNumber, fsys, entry.Name()); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", entry.Name(), err))
		}
	}
	steps, err := inOrder(byNumber)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, fmt.Errorf("the set of steps is faulty: %w", err)
	}
	return steps, nil
}

// addFile reads one file into the step it belongs to.
func addFile(byNumber map[int]*Step, fsys fs.FS, file string) error {
	match := stepFile.FindStringSubmatch(file)
	if match == nil {
		return errors.New("not the name of a step's file: NNNNNN_name.up.sql, .down.sql or .schema.txt")
	}
	content, err := fs.ReadFile(fsys, file)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(match[1])
	if err != nil {
		return err
	}
	if number == 0 {
		return errors.New("the number of a step is 1 or more: 0 is the empty database")
	}
	step := byNumber[number]
	if step == nil {
		step = &Step{Number: number, Name: match[2]}
		byNumber[number] = step
	}
	if step.Name != match[2] {
		return fmt.Errorf("step %d is also called %s", number, step.Name)
	}
	text := string(content)
	switch direction, variant := match[3], match[4]; {
	case direction == "up":
		step.up = text
		header, _, _ := strings.Cut(text, "\n")
		step.Release, _, _ = strings.Cut(strings.TrimPrefix(header, "-- Release: "), ": ")
	case direction == "down":
		step.down = text
	case variant != "":
		err = step.addVariant(text)
	default:
		err = step.addShape(text)
	}
	return err
}

func (s *Step) addVariant(text string) error {
	shape, err := schema.ParseShape(text)
	s.Variants = append(s.Variants, withoutEvidence(shape))
	return err
}

// addShape takes what is no shape out of the snapshot: the revision, the oldest step
// whose applications can work on this one, if that is another, and the costs.
func (s *Step) addShape(text string) error {
	shape, err := schema.ParseShape(text)
	if err != nil {
		return err
	}
	if s.costs, err = takeCosts(shape); err != nil {
		return err
	}
	s.moves = takeMoves(shape)
	s.Revision = shape["alembic_version"]
	if s.Revision != "" && !revision.MatchString(s.Revision) {
		return errors.New("alembic_version is not a revision of 12 hexadecimal digits")
	}
	s.Oldest = s.Number
	if oldest := shape["oldest_step"]; oldest != "" {
		if s.Oldest, err = strconv.Atoi(oldest); err != nil || s.Oldest < 1 || s.Oldest > s.Number {
			return fmt.Errorf("oldest_step %q is not the number of this step or of one before", oldest)
		}
	}
	s.Shape = withoutEvidence(shape)
	return nil
}

// takeCosts takes "lock table: MODE", "work table: duration" and "archive table: table"
// out of a snapshot.
func takeCosts(shape schema.Shape) (costs, error) {
	taken := costs{locks: map[string]string{}, work: map[string]time.Duration{}, archives: map[string]string{}}
	for object, value := range shape {
		kind, table, _ := strings.Cut(object, " ")
		switch kind {
		case "lock":
			taken.locks[table] = value
		case "archive":
			taken.archives[table] = value
		case "work":
			duration, err := time.ParseDuration(value)
			if err != nil || duration <= 0 {
				return costs{}, fmt.Errorf("%s: %q is not a duration for each megabyte", object, value)
			}
			taken.work[table] = duration
		default:
			continue
		}
		delete(shape, object)
	}
	return taken, nil
}

// takeMoves takes "from <new object>: <object>, <object>", "moved <object>: <object>",
// "refilled table <table>", "distinct column <column>: <columns>" and "merged column
// <column>: <tables>" out of a snapshot.
func takeMoves(shape schema.Shape) moves {
	taken := moves{
		from: map[string][]string{}, moved: map[string]string{}, refilled: map[string]bool{}, distinct: map[string]string{},
		merged: map[string][]string{},
	}
	for line, value := range shape {
		kind, object, _ := strings.Cut(line, " ")
		of, name, _ := strings.Cut(object, " ")
		switch kind {
		case "from":
			for source := range strings.SplitSeq(value, ", ") {
				taken.from[object] = append(taken.from[object], of+" "+source)
			}
		case "moved":
			taken.moved[object] = of + " " + value
		case "refilled":
			taken.refilled[name] = true
		case "merged":
			taken.merged[name] = strings.Split(value, ", ")
		case "distinct":
			taken.distinct[name] = value
		default:
			continue
		}
		delete(shape, line)
	}
	return taken
}

func withoutEvidence(shape schema.Shape) schema.Shape {
	delete(shape, "alembic_version")
	delete(shape, "oldest_step")
	return shape
}

// Check returns what keeps the SQL of the steps from being one transaction on any
// database, and everything else that the rules for steps forbid.
func (s Steps) Check() error {
	var faults []error
	for _, step := range s {
		for direction, text := range map[string]string{"up": step.up, "down": step.down} {
			if err := checkSQL(text); err != nil {
				faults = append(faults, fmt.Errorf("%06d_%s.%s.sql: %w", step.Number, step.Name, direction, err))
			}
		}
	}
	return errors.Join(faults...)
}

// checkSQL returns what keeps the text from being a step.
func checkSQL(text string) error {
	// What would end the transaction that all steps share, or cannot run inside one. Text
	// within quotes is removed before: BEGIN and END belong to PL/pgSQL there.
	quoted := regexp.MustCompile(`(?s)\$\w*\$.*?\$\w*\$|'[^']*'|--[^\n]*|/\*.*?\*/`)
	forbiddenCommand := regexp.MustCompile(`(?is)(?:^|;)\s*(BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|PREPARE|VACUUM|COPY)\b`)
	concurrently := regexp.MustCompile(`(?i)\bCONCURRENTLY\b`)
	if line := unfinished(text); line > 0 {
		return fmt.Errorf("line %d still says TODO: write it", line)
	}
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return fmt.Errorf("character %d is not ASCII; a database of another encoding may not have it", i)
		}
	}
	lines := strings.SplitN(text, "\n", 4)
	for i, label := range []string{"-- Release: ", "-- Data: ", "-- Undo: "} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], label) || len(lines[i]) == len(label) {
			return fmt.Errorf("line %d must begin with %q and say it", i+1, label)
		}
	}
	bare := quoted.ReplaceAllString(text, "")
	if strings.TrimSpace(bare) == "" {
		return errors.New("there is no statement in it")
	}
	if match := forbiddenCommand.FindStringSubmatch(bare); match != nil {
		return fmt.Errorf("%s must not stand in a step: all steps share one transaction", match[1])
	}
	if concurrently.MatchString(bare) {
		return errors.New("CONCURRENTLY cannot run in a transaction")
	}
	return nil
}

// unfinished returns the line, from 1, of the first TODO in a comment, or 0. What stands
// between $$ is looked through too, where an apostrophe may begin no literal; so that it
// hides no comment below, a literal ends with its line at the latest.
func unfinished(text string) int {
	comments := regexp.MustCompile(`(?s)'[^'\n]*'|(--[^\n]*|/\*.*?\*/)`)
	todo := regexp.MustCompile(`\bTODO`)
	for _, at := range comments.FindAllStringSubmatchIndex(text, -1) {
		if at[2] < 0 {
			continue
		}
		if found := todo.FindStringIndex(text[at[2]:at[3]]); found != nil {
			return 1 + strings.Count(text[:at[2]+found[0]], "\n")
		}
	}
	return 0
}

// inOrder lines the steps up, or says what is missing.
func inOrder(byNumber map[int]*Step) (Steps, error) {
	if len(byNumber) == 0 {
		return nil, errors.New("there are no steps")
	}
	var steps Steps
	var faults []error
	for i, number := range slices.Sorted(maps.Keys(byNumber)) {
		if i > 0 && number != steps[i-1].Number+1 {
			faults = append(faults, fmt.Errorf("step %d is missing: after %d comes %d", steps[i-1].Number+1, steps[i-1].Number, number))
		}
		step := byNumber[number]
		for file, present := range map[string]bool{
			".up.sql": step.up != "", ".down.sql": step.down != "", ".schema.txt": len(step.Shape) > 0,
		} {
			if !present {
				faults = append(faults, fmt.Errorf("step %d has no %s file, or an empty one", number, file))
			}
		}
		steps = append(steps, *step)
	}
	return steps, errors.Join(faults...)
}
