package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// schemaFile is what is kept of a schema.sql when it is written anew: the order of its
// tables and indexes, and its comments.
type schemaFile struct {
	header   string
	order    []string            // "table users", "column users.id", "index stars_project_id_idx", ...
	comments map[string][]string // the lines above an object, or above a column within its table
}

var (
	creates = regexp.MustCompile(`^CREATE (TABLE|TYPE|(?:UNIQUE )?INDEX) ("[^"]+"|\w+)`)
	member  = regexp.MustCompile(`^    ("[^"]+"|\w+) `)
)

// parseSchemaFile reads a schema.sql line by line: it is written one statement, and
// within a table one column, to a line.
func parseSchemaFile(text string) schemaFile {
	header, body, _ := strings.Cut(text, "\n\n")
	file := schemaFile{header: header + "\n", comments: map[string][]string{}}
	var above []string
	var table string
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\n")
		object := ""
		if match := creates.FindStringSubmatch(line); match != nil {
			kind := strings.ToLower(strings.TrimPrefix(match[1], "UNIQUE "))
			object = kind + " " + match[2]
			file.order = append(file.order, object)
			table = match[2]
		} else if match := member.FindStringSubmatch(line); match != nil {
			object = "column " + table + "." + match[1]
			file.order = append(file.order, object)
		}
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "--"):
			above = append(above, strings.TrimSpace(line))
			continue
		case object != "" && len(above) > 0:
			file.comments[object] = above
		}
		above = nil
	}
	return file
}

// names returns the objects of a kind, in the order of the file.
func (f schemaFile) names(kind string) []string {
	var names []string
	for _, object := range f.order {
		if name, ok := strings.CutPrefix(object, kind+" "); ok {
			names = append(names, name)
		}
	}
	return names
}

// place is where an object stands in the file, or behind all others.
func (f schemaFile) place(object string) int {
	if at := slices.Index(f.order, object); at >= 0 {
		return at
	}
	return len(f.order)
}

// write returns the text of the file for these tables. What it had before keeps its
// place.
func (f schemaFile) write(t *tables) string {
	var text strings.Builder
	text.WriteString(f.header)
	comment := func(object string) {
		for _, line := range f.comments[object] {
			text.WriteString(line + "\n")
		}
	}
	if len(t.enums) > 0 {
		text.WriteString("\n")
	}
	for _, enum := range slices.Sorted(maps.Keys(t.enums)) {
		comment("type " + enum)
		text.WriteString(enumSQL(enum, t.enums[enum]))
	}
	var indexes []index
	for _, one := range t.inOrder(slices.Collect(maps.Keys(t.byName)), f.names("table")) {
		text.WriteString("\n")
		comment("table " + one.name)
		ordered := *one
		ordered.columns = slices.Clone(one.columns)
		slices.SortStableFunc(ordered.columns, func(a, b column) int {
			return f.place("column "+a.Table+"."+a.Name) - f.place("column "+b.Table+"."+b.Name)
		})
		text.WriteString(ordered.sql(f.comments))
		indexes = append(indexes, one.indexes...)
	}
	if len(indexes) > 0 {
		text.WriteString("\n")
	}
	slices.SortStableFunc(indexes, func(a, b index) int { return f.place("index "+a.Name) - f.place("index "+b.Name) })
	for _, i := range indexes {
		comment("index " + i.Name)
		text.WriteString(i.sql())
	}
	return text.String()
}

func enumSQL(name string, values []string) string {
	return fmt.Sprintf("CREATE TYPE %s AS ENUM (%s);\n", name, strings.Join(values, ", "))
}
