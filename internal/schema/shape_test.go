package schema

import (
	"slices"
	"testing"
)

func TestShapeTextForm(t *testing.T) {
	const text = "column a.\"user\": integer default 'x: y'\nenum e: A, B\ntable a\n"
	shape, err := ParseShape(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := shape.String(); got != text {
		t.Errorf("got %q", got)
	}
	if got := shape[`column a."user"`]; got != "integer default 'x: y'" {
		t.Errorf("got %q", got)
	}
	if tables, enums := shape.Names("table"), shape.Names("enum"); !slices.Equal(tables, []string{"a"}) || !slices.Equal(enums, []string{"e"}) {
		t.Errorf("got tables %q and enums %q", tables, enums)
	}
	for _, faulty := range []string{"table a\ntable a\n", "\n", ": integer\n"} {
		if _, err := ParseShape(faulty); err == nil {
			t.Errorf("%q was accepted", faulty)
		}
	}
}

func TestDiff(t *testing.T) {
	want := Shape{"table a": "", "column a.b": "integer", "column a.c": "text", "index a.i": "btree (b)"}
	have := Shape{"table a": "", "column a.b": "bigint", "column a.d": "text", "table x": "", "index a.mine": "btree (c)"}
	var got []string
	for _, difference := range have.Diff(want) {
		got = append(got, difference.String())
	}
	if !slices.Equal(got, []string{
		`column a.b is "bigint", expected "integer"`,
		`column a.c is missing: text`,
		`column a.d is not expected: text`,
		`index a.i is missing: btree (b)`,
		`table x is not expected`,
	}) {
		t.Errorf("got %q", got)
	}
	if got := have.Diff(have); len(got) != 0 {
		t.Errorf("differs from itself: %v", got)
	}
}

func FuzzParseShape(f *testing.F) {
	f.Add("table a\ncolumn a.b: integer\n")
	f.Fuzz(func(t *testing.T, text string) {
		shape, err := ParseShape(text)
		if err != nil {
			return
		}
		again, err := ParseShape(shape.String())
		if err != nil || len(again.Diff(shape)) > 0 {
			t.Errorf("%q is not read as it was written: %v", shape.String(), err)
		}
	})
}
