package schema

import (
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
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

// Whoever answers like PostgreSQL and is not makes an attempt fail, and is no reason to
// panic.
func TestHalfAnAnswer(t *testing.T) {
	reader := NewReader([]Shape{{"table a": ""}}).Around()
	whole := func() []*pgconn.Result {
		results := []*pgconn.Result{{Rows: [][][]byte{{[]byte("public"), []byte("public, pg_temp"), []byte("f"), nil, nil, nil}}}}
		for range reader.queries[1:] {
			results = append(results, &pgconn.Result{Rows: [][][]byte{{[]byte("table a")}, {nil}}})
		}
		return results
	}
	if db, err := reader.Parse(whole()); err != nil || db.Schema != "public" || db.Path != "public, pg_temp" || len(db.Shape) != 1 {
		t.Errorf("got %+v, %v", db, err)
	}
	faulty := map[string][]*pgconn.Result{"nothing": nil, "too little": whole()[1:], "no place": whole(), "few columns": whole(), "many columns": whole()}
	faulty["no place"][0] = &pgconn.Result{}
	faulty["few columns"][1] = &pgconn.Result{Rows: [][][]byte{{}}}
	faulty["many columns"][1] = &pgconn.Result{Rows: [][][]byte{{nil, nil}}}
	for name, results := range faulty {
		if _, err := reader.Parse(results); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
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
