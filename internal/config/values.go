package config

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// checkValues looks for what a variable's value holds by mistake: "docker run --env-file"
// keeps quotes, editors on Windows leave carriage returns and byte order marks, and
// "kubectl create secret --from-file" a newline. In a password any of it may be meant, so
// that is a warning; elsewhere it is an error. Neither shows the value.
func checkValues(names map[string]bool) (warnings []string, err error) {
	all := maps.Clone(names)
	for _, p := range libpq() {
		if p.variable != "" {
			all[p.variable] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		value := os.Getenv(name)
		if strings.HasSuffix(name, "_PEM") {
			value = strings.TrimSpace(value) // it has several lines
			value = strings.NewReplacer("\r", "", "\n", "").Replace(value)
		}
		if name == "PGOPTIONS" {
			value = strings.Trim(value, " ")
		}
		what := flaw(value)
		switch {
		case what == "":
		case strings.HasSuffix(name, "PASSWORD"):
			warnings = append(warnings, fmt.Sprintf("%s %s; that is taken as a part of the password", name, what))
		default:
			return nil, fmt.Errorf("%s %s; write the value without it", name, what)
		}
	}
	if file := os.Getenv("PGPASSFILE"); file != "" {
		if _, err := readSecret(file); err != nil {
			warnings = append(warnings, fmt.Sprintf("PGPASSFILE has no effect: %v (this program runs as user %d)", err, os.Getuid()))
		}
	}
	return warnings, nil
}

// flaw says what is suspicious about a value, as the predicate of a sentence, or nothing.
func flaw(value string) string {
	first, last := "", ""
	if value != "" {
		first, last = value[:1], value[len(value)-1:]
	}
	switch {
	case strings.HasPrefix(value, "\uFEFF"):
		return "begins with a byte order mark (U+FEFF)"
	case len(value) > 1 && first == last && (first == `"` || first == `'`):
		return fmt.Sprintf("is enclosed in quotation marks (%s)", first)
	case strings.Contains(value, "\r"):
		return `has a carriage return (\r) in it`
	case strings.Contains(value, "\n"):
		return `has a newline (\n) in it`
	case first == " " || first == "\t":
		return "begins with a blank"
	case last == " " || last == "\t":
		return "ends with a blank"
	}
	return ""
}

// nearMisses warns of variables that are set, and one or two letters away from one of
// ours: WAIT_TIMOUT. (Of those that begin like MIGRATE_, refuseUnknown takes care.)
func nearMisses(names map[string]bool) []string {
	var warnings []string
	known := maps.Clone(names)
	for _, p := range libpq() {
		known[p.variable] = true
	}
	for _, assignment := range os.Environ() {
		name, value, _ := strings.Cut(assignment, "=")
		if value == "" || known[name] {
			continue
		}
		for _, ours := range slices.Sorted(maps.Keys(names)) {
			if within(name, ours, 2) {
				warnings = append(warnings, fmt.Sprintf("%s is not a variable of this program and has no effect; is it meant to be %s?", name, ours))
				break
			}
		}
	}
	slices.Sort(warnings)
	return warnings
}

// within reports whether so many letters to insert, delete, replace or swap with the next
// one lead from a to b, or fewer.
func within(a, b string, edits int) bool {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	if a == "" || b == "" {
		return len(a)+len(b) <= edits
	}
	if edits == 0 {
		return false
	}
	swapped := len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0]
	return swapped && within(a[2:], b[2:], edits-1) ||
		within(a[1:], b, edits-1) || within(a, b[1:], edits-1) || within(a[1:], b[1:], edits-1)
}
