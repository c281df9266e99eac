package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// textLines returns the lines of docs/texts.txt for the tables and archives that there
// are with the step: what is new waits for a person, and what is said of things that are
// gone goes with them.
func (v *revision) textLines(old string, archives []archive) string {
	var lines []string
	said := map[string]bool{}
	for line := range strings.Lines(old) {
		object, _, _ := strings.Cut(line, ": ")
		if kind, name, _ := strings.Cut(object, " "); kind == "archive" || v.has(kind, name) {
			lines = append(lines, strings.TrimRight(line, "\n"))
			said[object] = true
		}
	}
	for name := range v.wanted.byName {
		if !said["table "+bare(name)] {
			lines = append(lines, fmt.Sprintf("table %s: TODO: what a row of it is.", bare(name)))
		}
	}
	for _, a := range archives {
		if !said["archive "+a.name] {
			lines = append(lines, fmt.Sprintf("archive %s: what step %d drops: %s", a.name, v.number, strings.Join(a.columns, ", ")))
		}
	}
	slices.SortFunc(lines, func(a, b string) int {
		return cmp.Or(cmp.Compare(kindRank(a), kindRank(b)), strings.Compare(object(a), object(b)))
	})
	return strings.Join(lines, "\n") + "\n"
}

// has reports whether the schema that is wanted has a table or column of that name.
func (v *revision) has(kind, name string) bool {
	tableName, columnName, _ := strings.Cut(name, ".")
	one := v.wanted.find(tableName)
	return one != nil && (kind == "table" || one.find(columnName) != nil)
}

func object(line string) string {
	object, _, _ := strings.Cut(line, ": ")
	return object
}

func kindRank(line string) int {
	kind, _, _ := strings.Cut(line, " ")
	return slices.Index([]string{"table", "column", "archive"}, kind)
}

// writeTexts brings docs/texts.txt up to date.
func (v *revision) writeTexts(archives []archive) error {
	old, err := os.ReadFile(v.request.texts)
	if err != nil {
		return err
	}
	return os.WriteFile(v.request.texts, []byte(v.textLines(string(old), archives)), 0o644)
}

// pruneTexts takes the lines of archives that no step makes, or makes no more, out of
// docs/texts.txt.
func (r request) pruneTexts() error {
	names, err := filepath.Glob(r.file("*.schema.txt"))
	if err != nil {
		return err
	}
	made := map[string]bool{}
	for _, name := range names {
		snapshot, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(snapshot)) {
			made[object(line)] = true
		}
	}
	old, err := os.ReadFile(r.texts)
	if err != nil {
		return err
	}
	var text strings.Builder
	for line := range strings.Lines(string(old)) {
		if !strings.HasPrefix(line, "archive ") || made[object(line)] {
			text.WriteString(line)
		}
	}
	return os.WriteFile(r.texts, []byte(text.String()), 0o644)
}
