package integration

import (
	"bytes"
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// member is one member of a JSON object, in its place; a key may come twice. The value is
// canonical.
type member struct{ key, value string }

// members returns the members of an object in their order, or none of what is no object.
func members(t *testing.T, text string) []member {
	t.Helper()
	var list []member
	decoder := json.NewDecoder(strings.NewReader(text))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
		list = append(list, member{key.(string), canonical(t, string(value))})
	}
	return list
}

// elements returns the elements of an array, canonical.
func elements(t *testing.T, text string) []string {
	t.Helper()
	var raw []json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, element := range raw {
		list = append(list, canonical(t, string(element)))
	}
	return list
}

// canonical writes JSON without white space, and with keys in one spelling. Everything
// else stays as it is: the order of keys, double ones, the digits of a number, the
// escapes in a string.
func canonical(t *testing.T, text string) string {
	t.Helper()
	switch kindOf(text) {
	case '{':
		return object(members(t, text))
	case '[':
		return "[" + strings.Join(elements(t, text), ",") + "]"
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(text)); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return compact.String()
}

// object writes an object of these members.
func object(list []member) string {
	var parts []string
	for _, m := range list {
		parts = append(parts, encode(m.key)+":"+m.value)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// encode writes a text as JSON, as PostgreSQL does: only what must be escaped is.
func encode(text string) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		panic(err) // a text can always be written
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// kindOf is the first character of JSON, which tells what it is; or 0 of no JSON at all.
func kindOf(text string) byte {
	text = strings.TrimLeft(text, " \t\r\n")
	if text == "" {
		return 0
	}
	return text[0]
}

// last returns the value of the last member of that name, which is the one that counts.
func last(list []member, key string) (string, bool) {
	for _, m := range slices.Backward(list) {
		if m.key == key {
			return m.value, true
		}
	}
	return "", false
}

// textOf is what a column of text holds of a JSON value: no text can hold \u0000 or half
// a surrogate pair.
func textOf(value string) string {
	if value == "" || value == "null" {
		return null
	}
	var text string
	if json.Unmarshal([]byte(value), &text) != nil {
		return value
	}
	return strings.NewReplacer("\x00", "", "\uFFFD", "").Replace(text)
}

// document is a project as 0.4 and older keep it.
type document struct {
	t                 *testing.T
	members, config   []member
	name, description string // of the document; empty if it has none
	project           string // the project's name, for a document without one
	samples           []string
	tables            [][]string
	lossy             bool // there is something in samples or subsamples that no row can hold
}

func decodeDocument(t *testing.T, text, project string) document {
	t.Helper()
	d := document{t: t, members: members(t, text), project: project}
	config, _ := last(d.members, "_config")
	d.config = members(t, config)
	d.name, _ = last(d.members, "name")
	d.description, _ = last(d.members, "description")
	samples, _ := last(d.members, "_sample_dict")
	d.samples = d.records(samples, d.nameColumn())
	list, _ := last(d.members, "_subsample_list")
	dict, _ := last(d.members, "_subsample_dict")
	tables := dict
	if kindOf(list) == '[' && list != "[]" {
		tables = list
		d.lossy = d.lossy || kindOf(dict) == '[' && dict != "[]"
	}
	if kindOf(tables) == '[' {
		for _, table := range elements(t, tables) {
			records := d.records(table, "sample_name")
			d.lossy = d.lossy || len(records) == 0
			d.tables = append(d.tables, records)
		}
	}
	return d
}

// nameColumn is the column that holds a sample's name.
func (d *document) nameColumn() string { return nameColumn(d.config) }

func nameColumn(config []member) string {
	index, _ := last(config, "sample_table_index")
	if text := textOf(index); text != null && text != "" {
		return text
	}
	return "sample_name"
}

var decimal = regexp.MustCompile(`^\d{1,9}$`)

// records returns the rows of a table: a list of records, or an object of columns, whose
// rows have keys.
func (d *document) records(table, name string) []string {
	if kindOf(table) == '[' {
		return elements(d.t, table)
	}
	var keys []string
	cells := map[string][]member{}
	for _, column := range members(d.t, table) {
		rows := members(d.t, column.value)
		d.lossy = d.lossy || len(rows) == 0
		for _, row := range rows {
			if cells[row.key] == nil {
				keys = append(keys, row.key)
			}
			cells[row.key] = append(cells[row.key], member{column.key, row.value})
		}
	}
	numbered := d.number(keys, func(key string) string {
		for _, cell := range cells[key] {
			if cell.key == name {
				return textOf(cell.value)
			}
		}
		return null
	})
	var records []string
	for _, key := range keys {
		record := cells[key]
		own := slices.IndexFunc(record, func(m member) bool { return m.key == name })
		switch {
		case numbered:
			d.lossy = d.lossy || len(key) > 1 && key[0] == '0'
		case own < 0:
			record = append([]member{{name, encode(key)}}, record...)
		default:
			d.lossy = d.lossy || textOf(record[own].value) != key
		}
		records = append(records, object(record))
	}
	return records
}

// number puts keys that are the numbers from 0 on in their order, and reports whether
// they are. They are names if they are what every row is called.
func (d *document) number(keys []string, name func(key string) string) bool {
	value := func(key string) int {
		number, err := strconv.Atoi(key)
		if err != nil {
			d.t.Fatal(err)
		}
		return number
	}
	highest := -1
	for _, key := range keys {
		if !decimal.MatchString(key) {
			return false
		}
		highest = max(highest, value(key))
	}
	if highest != len(keys)-1 || !slices.ContainsFunc(keys, func(key string) bool { return name(key) != key }) {
		return false
	}
	slices.SortStableFunc(keys, func(a, b string) int { return value(a) - value(b) })
	return true
}

// fullConfig is the config with the document's own name and description where it has
// none.
func (d *document) fullConfig(description string) []member {
	config := slices.Clone(d.config)
	if _, ok := last(config, "name"); !ok {
		name := d.name
		if name == "" {
			name = encode(d.project)
		}
		config = append(config, member{"name", name})
	}
	if _, ok := last(config, "description"); !ok {
		text := d.description
		if text == "" {
			text = `""`
			if description != null {
				text = encode(description)
			}
		}
		config = append(config, member{"description", text})
	}
	return config
}

// named writes a config whose name, the one that counts, is the project's.
func named(config []member, name string) string {
	config = slices.Clone(config)
	at := -1
	for i, m := range config {
		if m.key == "name" {
			at = i
		}
	}
	if at < 0 {
		config = append(config, member{key: "name"})
		at = len(config) - 1
	}
	config[at].value = encode(name)
	return object(config)
}

var unwritable = regexp.MustCompile(`(?i)(?:^|[^\\])(?:\\\\)*\\u(0000|d[89a-f])`)

// extra returns the members that are unknown to pepdbagent.
func extra(list []member) []member {
	var unknown []member
	for _, m := range list {
		switch m.key {
		case "name", "description", "_config", "_sample_dict", "_subsample_dict", "_subsample_list":
		default:
			unknown = append(unknown, m)
		}
	}
	return unknown
}

// odd reports whether there is more in the document than config, samples and subsamples
// can hold.
func (d *document) odd(description string) bool {
	keys := map[string]bool{}
	for _, m := range d.members {
		keys[m.key] = true
	}
	_, ownName := last(d.config, "name")
	_, ownDescription := last(d.config, "description")
	return d.lossy || len(extra(d.members)) > 0 || len(keys) < len(d.members) ||
		ownName && d.name != "" && !strings.EqualFold(textOf(d.name), d.project) ||
		ownDescription && d.description != "" &&
			(textOf(d.description) != description || unwritable.MatchString(d.description))
}

// fromAnnotation fills in what 0.1 and 0.2 keep in anno_info.
func (p *oneProject) fromAnnotation(t *testing.T) {
	notes := members(t, p.annotation)
	note := func(keys ...string) string {
		for _, key := range keys {
			if value, ok := last(notes, key); ok {
				return textOf(value)
			}
		}
		return null
	}
	p.private = "f"
	if strings.EqualFold(note("is_private"), "true") {
		p.private = "t"
	}
	document := members(t, p.document)
	p.samples = "0"
	switch samples, _ := last(document, "_sample_dict"); kindOf(samples) {
	case '[':
		p.samples = strconv.Itoa(len(elements(t, samples)))
	case '{':
		longest := 0
		for _, column := range members(t, samples) {
			longest = max(longest, len(members(t, column.value)))
		}
		p.samples = strconv.Itoa(longest)
	}
	for _, key := range []string{"n_samples", "number_of_samples"} {
		if number := note(key); decimal.MatchString(number) {
			p.samples = strings.TrimLeft(number[:len(number)-1], "0") + number[len(number)-1:]
		}
	}
	p.submitted = dateOf(note("last_update"))
	p.updated = p.submitted
	if description, ok := last(notes, "description"); ok {
		if _, has := last(document, "description"); !has {
			document = append(document, member{"description", description})
			// jsonb has an order of its own.
			slices.SortFunc(document, func(a, b member) int {
				return cmp.Or(cmp.Compare(len(a.key), len(b.key)), strings.Compare(a.key, b.key))
			})
			p.document = object(document)
		}
	}
}

// today stands for the time of the upgrade, which is the date of what has none.
const today = "today"

// dateOf reads a date as 0.1 wrote it, or as somebody may have.
func dateOf(text string) string {
	for _, layout := range []string{
		"2006-01-02 15:04:05.999999", "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05.999999Z07:00",
		"2006-01-02T15:04:05.999999Z07:00", "2006-01-02 15:04", time.DateOnly,
	} {
		if date, err := time.Parse(layout, text); err == nil {
			if time.Since(date) < time.Hour {
				return today
			}
			return date.UTC().Format("2006-01-02 15:04:05.999999") + "+00"
		}
	}
	return today
}
