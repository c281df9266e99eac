package migrator

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"pephub-migrate/internal/schema"
)

// The reasons for which a database is left alone.
var (
	// ErrUnrecognised means that the tables are not those of any PEPhub release.
	ErrUnrecognised = errors.New("not a database that is recognised; nothing was touched")

	// ErrNewer means that a newer pepdbagent or a newer image has been here.
	ErrNewer = errors.New("the database is newer than this image; nothing was touched")

	// ErrResult means that the tables are not as they should be after the last step.
	ErrResult = errors.New("the result is not what it should be; rolled back")
)

// ShapeError is an ErrUnrecognised or an ErrResult that can say which objects differ.
type ShapeError struct {
	Class       error
	Nearest     Step // the step that the database resembles most
	Differences []schema.Difference
}

// Error counts the objects; the caller shows them one by one.
func (e *ShapeError) Error() string {
	verb := "objects differ"
	if len(e.Differences) == 1 {
		verb = "object differs"
	}
	return fmt.Sprintf("%v: %d %s from step %d (%s)", e.Class, len(e.Differences), verb, e.Nearest.Number, e.Nearest.Release)
}

// Unwrap returns the class.
func (e *ShapeError) Unwrap() error { return e.Class }

// position is where a database was found.
type position struct {
	step int // 0 for an empty database

	// leftovers are tables and enums of later steps. An application that is newer than
	// the database makes them when it starts: SQLAlchemy's create_all adds what is
	// missing and alters nothing.
	leftovers schema.Shape

	// missing are indexes of the step that the database lacks: an application makes none
	// that are only this program's, and an operator may have dropped one.
	missing schema.Shape

	// stale are tables and enums of earlier steps alone, as those make them: an
	// application that is older than the database, and is started again on it, makes them
	// too. It cannot work here, and so they should be empty.
	stale schema.Shape

	// ifEmpty is where the database is instead if the leftovers of that position hold no
	// rows: then nobody has worked at this step yet, which may fill those tables from
	// others. It is nil if there is but one way to see the database.
	ifEmpty *position
}

// missingIndexes names the indexes that are missing, in a sentence.
func (p position) missingIndexes() string {
	return strings.Join(slices.Sorted(slices.Values(p.missing.Names("index"))), ", ")
}

// recognise finds the step that the database is at. The shape decides. What the two
// version tables say is evidence of somebody who knows more than this image, and nothing
// beyond that: Alembic stamps a database without looking at it.
func (s Steps) recognise(db schema.Database) (position, error) {
	where := "schema " + db.Schema + " holds none of PEPhub's tables"
	if db.Schema == "" {
		where = "the role's search_path names no schema that is there"
	}
	if len(db.Elsewhere) > 0 {
		return position{}, fmt.Errorf("%w: %s, but schema %s does; make it the role's, as for the application: "+
			"ALTER ROLE ... SET search_path = %[3]s", ErrUnrecognised, where, strings.Join(db.Elsewhere, ", "))
	}
	if db.Schema == "" {
		return position{}, fmt.Errorf("%w: %s", ErrUnrecognised, where)
	}
	if len(db.Others) > 0 {
		return position{}, fmt.Errorf("%w: schema %s holds other tables (%s) and none of PEPhub's",
			ErrUnrecognised, db.Schema, strings.Join(db.Others, ", "))
	}
	if err := s.checkEvidence(db); err != nil {
		return position{}, err
	}
	if len(db.Shape.Names("table")) == 0 && len(db.Shape) == len(db.Shape.Names("enum")) {
		return position{leftovers: db.Shape}, nil
	}
	// The newest that matches, and a whole match before one that lacks indexes, and that
	// before one with leftovers: what an application of the step has filled is no
	// leftover.
	for i := len(s) - 1; i >= 0; i-- {
		if s[i].matches(db.Shape) {
			return position{step: s[i].Number}, s.checkIndexes(db.Shape)
		}
	}
	before, common, fits := s.withLeftovers(db.Shape)
	if at, ok := s.withoutIndexes(db.Shape); ok {
		if fits {
			at.ifEmpty = &before
		}
		return at, s.checkIndexes(db.Shape)
	}
	if fits {
		return before, s.checkIndexes(common)
	}
	if at, common, ok := s.withStale(db.Shape); ok {
		return at, s.checkIndexes(common)
	}
	return position{}, s.nearest(db.Shape)
}

// withStale returns the newest step that a database is at but for tables and enums as
// other steps make them, if there is such a step.
func (s Steps) withStale(shape schema.Shape) (at position, common schema.Shape, ok bool) {
	for _, step := range slices.Backward(s) {
		if common, rest := shape.Split(step.Shape); step.matches(common) && s.makesAll(rest) {
			return position{step: step.Number, stale: rest}, common, true
		}
	}
	return position{}, nil, false
}

// withLeftovers returns the newest step that a database is at but for tables and enums of
// later steps, and the rest of the database, if there is such a step.
func (s Steps) withLeftovers(shape schema.Shape) (at position, common schema.Shape, ok bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if common, rest := shape.Split(s[i].Shape); s[i].matches(common) && s[:i].lacks(rest) {
			return position{step: s[i].Number, leftovers: rest}, common, true
		}
	}
	return position{}, nil, false
}

// withoutIndexes returns the step that a database is at but for indexes, if there is one:
// of several that with the fewest missing, and the newest of those. One that lacks more
// may do more than make its indexes.
func (s Steps) withoutIndexes(shape schema.Shape) (at position, ok bool) {
	for i, step := range s {
		for _, snapshot := range step.shapes() {
			missing, matches := s[:i+1].lackedIndexes(shape, snapshot)
			if matches && (!ok || len(missing) <= len(at.missing)) {
				at, ok = position{step: step.Number, missing: missing}, true
			}
		}
	}
	return at, ok
}

// lackedIndexes returns the indexes that a shape lacks to be that of the snapshot, and
// whether that is all that is different, and every one of them can be made.
func (s Steps) lackedIndexes(shape, snapshot schema.Shape) (schema.Shape, bool) {
	missing := schema.Shape{}
	for _, difference := range shape.Diff(snapshot) {
		if !isMissingIndex(difference) || s.createIndex(difference.Object) == "" {
			return nil, false
		}
		missing[difference.Object] = difference.Want
	}
	return missing, true
}

func isMissingIndex(d schema.Difference) bool {
	return strings.HasPrefix(d.Object, "index ") && d.Have == ""
}

// indexOf takes an object like "index table.name" apart.
func indexOf(object string) (table, index string) {
	table, index, _ = strings.Cut(strings.TrimPrefix(object, "index "), ".")
	return table, index
}

// createIndex returns the statement by which the last of the steps that does so makes an
// index, or nothing. A snapshot does not say enough of one to make it: neither its
// operator classes nor its order, expressions and conditions.
func (s Steps) createIndex(object string) string {
	table, index := indexOf(object)
	statement := regexp.MustCompile(`(?m)^CREATE (UNIQUE )?INDEX (IF NOT EXISTS )?` + regexp.QuoteMeta(index+" ON "+table) + ` [^;]*;`)
	for _, step := range slices.Backward(s) {
		if found := statement.FindString(step.up); found != "" {
			return found
		}
	}
	return ""
}

// indexSQL makes the missing indexes. Where steps follow, which may need more than CREATE
// INDEX of a table, it takes the strongest lock at once: to raise a lock makes deadlocks.
func (s Steps) indexSQL(at position, target int) string {
	if len(at.missing) == 0 {
		return ""
	}
	known := s[:at.step-s[0].Number+1]
	var sql strings.Builder
	tables := map[string]bool{}
	for _, object := range slices.Sorted(maps.Keys(at.missing)) {
		sql.WriteString(known.createIndex(object) + "\n")
		table, _ := indexOf(object)
		tables[table] = true
	}
	if at.step == target {
		return sql.String()
	}
	return lockSQL(strings.Join(slices.Sorted(maps.Keys(tables)), ", ")) + ";\n" + sql.String()
}

// lacks reports whether none of the tables and enums in rest is known to these steps.
func (s Steps) lacks(rest schema.Shape) bool {
	for _, step := range s {
		if known, _ := rest.Split(step.Shape); len(known) > 0 {
			return false
		}
	}
	return true
}

// makesAll reports whether every table of the leftovers looks as one of the steps leaves
// it.
func (s Steps) makesAll(leftovers schema.Shape) bool {
	return !slices.ContainsFunc(leftovers.Names("table"), func(table string) bool {
		made, _ := s.makes(table, leftovers, s.newest().Number)
		return !made
	})
}

// makes reports whether a table among the leftovers looks as one of the steps leaves it,
// but for indexes, and whether the first of those is on the way to the target and makes
// it only where it is missing, and so can live with it as it is.
func (s Steps) makes(table string, leftovers schema.Shape, target int) (ok, keeps bool) {
	wanted := schema.Shape{"table " + table: ""}
	have, _ := leftovers.Split(wanted)
	for _, step := range s {
		want, _ := step.Shape.Split(wanted)
		differs := slices.ContainsFunc(have.Diff(want), func(d schema.Difference) bool { return !isMissingIndex(d) })
		if len(want) > 0 && !differs {
			return true, step.Number <= target && strings.Contains(step.up, "CREATE TABLE IF NOT EXISTS "+table+" ")
		}
	}
	return false, false
}

// checkIndexes refuses an index of the operator's own that goes by the name of one of the
// newest step's and is not the same: the step would take it for its own.
func (s Steps) checkIndexes(shape schema.Shape) error {
	var differences []schema.Difference
	for _, difference := range shape.Diff(s.newest().Shape) {
		if strings.HasPrefix(difference.Object, "index ") && difference.Have != "" {
			differences = append(differences, difference)
		}
	}
	if len(differences) == 0 {
		return nil
	}
	return &ShapeError{Class: ErrUnrecognised, Nearest: s.newest(), Differences: differences}
}

func (s Steps) checkEvidence(db schema.Database) error {
	switch db.Recorded {
	case schema.Unreadable:
		return fmt.Errorf("%w: schema_migrations belongs to another program", ErrUnrecognised)
	case schema.Empty, "":
	default:
		if db.Version() > s.newest().Number {
			return fmt.Errorf("%w: schema_migrations says %s, the newest step here is %d", ErrNewer, db.Recorded, s.newest().Number)
		}
		if _, ok := s.find(db.Version()); !ok {
			return fmt.Errorf("%w: schema_migrations says %s, which is no step of this program", ErrUnrecognised, db.Recorded)
		}
	}
	switch db.Alembic {
	case schema.Unreadable:
		return fmt.Errorf("%w: alembic_version belongs to another program", ErrUnrecognised)
	case schema.Empty, "":
	default:
		for revision := range strings.FieldsSeq(db.Alembic) {
			if !s.knows(revision) && len(db.Shape.Names("table")) == 0 {
				return fmt.Errorf("%w: alembic_version says %s, which is not pepdbagent's, and there is no table of PEPhub's: "+
					"the database is another application's", ErrUnrecognised, revision)
			}
			if !s.knows(revision) {
				return fmt.Errorf("%w: alembic_version says %s, which is a newer pepdbagent's, or another application's "+
					"that has its tables in the same schema", ErrNewer, revision)
			}
		}
	}
	return nil
}

func (s Steps) knows(revision string) bool {
	for _, step := range s {
		if step.Revision == revision {
			return true
		}
	}
	return false
}

// nearest explains an unrecognised shape by the step with the fewest differences, the
// newer of two.
func (s Steps) nearest(shape schema.Shape) error {
	best := &ShapeError{Class: ErrUnrecognised}
	for i, step := range s {
		for _, snapshot := range step.shapes() {
			differences := shape.Diff(snapshot)
			if common, rest := shape.Split(snapshot); len(common) > 0 && s[:i].lacks(rest) && s.makesAll(rest) {
				differences = common.Diff(snapshot) // the rest is what a newer application has added
			}
			if best.Differences == nil || len(differences) <= len(best.Differences) {
				best.Nearest, best.Differences = step, differences
			}
		}
	}
	return best
}
