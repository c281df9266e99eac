// Package schema sees a database: it reads the shape of the tables, and compares one
// shape with another.
package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Shape is what a set of tables looks like: for each object, such as "column users.id",
// its definition, such as "integer not null". A table has no definition beyond its being
// there.
type Shape map[string]string

// ParseShape reads the text form: one object a line, "object: definition". It returns an
// error for an object that comes twice.
func ParseShape(text string) (Shape, error) {
	shape := make(Shape, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		object, definition, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if _, twice := shape[object]; twice || object == "" {
			return nil, fmt.Errorf("a shape has %q more than once or without a name", object)
		}
		shape[object] = definition
	}
	return shape, nil
}

// String returns the text form, sorted.
func (s Shape) String() string {
	var text strings.Builder
	for _, object := range slices.Sorted(maps.Keys(s)) {
		text.WriteString(object)
		if s[object] != "" {
			text.WriteString(": " + s[object])
		}
		text.WriteByte('\n')
	}
	return text.String()
}

// Names returns the names of the objects of one kind, such as "table", without the table
// that they belong to.
func (s Shape) Names(kind string) []string {
	var names []string
	for object := range s {
		if of, name := KindAndName(object); of == kind {
			names = append(names, name)
		}
	}
	return names
}

// KindAndName takes an object like "index table.name" apart, without the table that it
// belongs to.
func KindAndName(object string) (kind, name string) {
	kind, name, _ = strings.Cut(object, " ")
	return kind, name[strings.LastIndexByte(name, '.')+1:]
}

// Split divides s into the objects of the tables and enums that other has too, and the
// rest.
func (s Shape) Split(other Shape) (common, rest Shape) {
	common, rest = Shape{}, Shape{}
	for object, definition := range s {
		if _, ok := other[owner(object, definition)]; ok {
			common[object] = definition
		} else {
			rest[object] = definition
		}
	}
	return common, rest
}

// owner returns the table or enum that an object belongs to, as an object.
func owner(object, definition string) string {
	kind, name, _ := strings.Cut(object, " ")
	switch kind {
	case "column", "constraint", "index":
		return "table " + tableOf(name)
	case "sequence":
		_, column, _ := strings.Cut(definition, " owned by ")
		return "table " + tableOf(column)
	}
	return object
}

// tableOf returns the name of the table in a name like "table.column", without its
// quotes.
func tableOf(name string) string {
	if quoted, ok := strings.CutPrefix(name, `"`); ok {
		name, _, _ = strings.Cut(quoted, `".`)
		return strings.ReplaceAll(name, `""`, `"`)
	}
	name, _, _ = strings.Cut(name, ".")
	return name
}

// Difference is one object in which a database is not as it should be.
type Difference struct {
	Object string // kind and name: "column users.id"
	Have   string // its definition in the database
	Want   string // its definition in the snapshot
	kind   differenceKind
}

type differenceKind int

const (
	changed differenceKind = iota
	missing
	unexpected
)

// String says the difference in words.
func (d Difference) String() string {
	switch d.kind {
	case missing:
		return strings.TrimSuffix(d.Object+" is missing: "+d.Want, ": ")
	case unexpected:
		return strings.TrimSuffix(d.Object+" is not expected: "+d.Have, ": ")
	default:
		return fmt.Sprintf("%s is %q, expected %q", d.Object, d.Have, d.Want)
	}
}

// Diff returns every object in which s is not as want has it, sorted. An index that want
// does not know is the operator's own and no difference.
func (s Shape) Diff(want Shape) []Difference {
	var differences []Difference
	for object, definition := range want {
		have, ok := s[object]
		switch {
		case !ok:
			differences = append(differences, Difference{Object: object, Want: definition, kind: missing})
		case have != definition:
			differences = append(differences, Difference{Object: object, Have: have, Want: definition})
		}
	}
	for object, definition := range s {
		if _, ok := want[object]; !ok && !strings.HasPrefix(object, "index ") {
			differences = append(differences, Difference{Object: object, Have: definition, kind: unexpected})
		}
	}
	slices.SortFunc(differences, func(a, b Difference) int { return strings.Compare(a.Object, b.Object) })
	return differences
}
