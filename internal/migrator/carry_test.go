package migrator

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pephub-migrate/internal/schema"
	"pephub-migrate/migrations"
)

// carryBetween carries attachments from one step's database to another's.
func carryBetween(t *testing.T, from, to int, attached ...attachment) carried {
	t.Helper()
	steps, err := Load(migrations.FS)
	if err != nil {
		t.Fatal(err)
	}
	at, _ := steps.find(from)
	return steps.passage(schema.Database{Schema: "public", Shape: at.Shape}, nil, from, to).carry(attached)
}

func on(table string, a attachment) attachment {
	a.table = table
	return a
}

func lines(attached []attachment) []string {
	var text []string
	for _, a := range attached {
		text = append(text, a.String())
	}
	return text
}

func wantAfter(t *testing.T, c carried, want ...attachment) {
	t.Helper()
	if len(c.lost) > 0 {
		t.Errorf("lost: %q", lines(c.lost))
	}
	for _, a := range want {
		if !slices.Contains(lines(c.after), a.String()) {
			t.Errorf("%q is not there afterwards, but\n%s", a, strings.Join(lines(c.after), "\n"))
		}
	}
}

func wantNotAfter(t *testing.T, c carried, unwanted ...attachment) {
	t.Helper()
	for _, a := range unwanted {
		if slices.Contains(lines(c.after), a.String()) {
			t.Errorf("%q is there afterwards", a)
		}
	}
}

func TestGrantsComeFromTheSource(t *testing.T) {
	read := attachment{kind: "grant", name: "SELECT", definition: "reader", may: true}
	c := carryBetween(t, 13, 15, on("schemas", read))
	wantAfter(t, c, on("schema_records", read), on("schema_versions", read))
	wantNotAfter(t, c, on("schema_tags", read), on("schemas", read))

	c = carryBetween(t, 13, 15, on("projects", read))
	wantAfter(t, c, on("projects", read))
	wantNotAfter(t, c, on("schema_records", read), on("schema_versions", read), on("schema_tags", read))

	c = carryBetween(t, 13, 15, on("schema_groups", read))
	wantNotAfter(t, c, on("schema_tags", read))
	if got := lines(c.archives["archived_schema_groups"]); !slices.Equal(got, []string{"grant|archived_schema_groups||SELECT||reader"}) {
		t.Errorf("the archive gets %q", got)
	}
	c = carryBetween(t, 13, 15, on("schema_groups", read), on("schema_group_relations", read))
	wantAfter(t, c, on("schema_tags", read))

	// What begins empty takes those of projects, and so does what a step makes of that.
	c = carryBetween(t, 7, 15, on("projects", read))
	wantAfter(t, c, on("users", read), on("stars", read), on("schema_records", read), on("schema_tags", read), on("alembic_version", read))
	wantNotAfter(t, c, on("samples", read)) // which was there

	c = carryBetween(t, 5, 15, on("projects", read))
	wantAfter(t, c, on("samples", read), on("subsamples", read))
	write := attachment{kind: "grant", name: "INSERT", definition: "reader", may: true}
	c = carryBetween(t, 5, 15, on("projects", write))
	wantAfter(t, c, on("samples", write))
	wantNotAfter(t, c, on("schema_migrations", write))
}

func TestGrantsOfColumns(t *testing.T) {
	read := func(table, column string) attachment {
		return attachment{kind: "column grant", table: table, column: column, name: "SELECT", definition: "reader", may: true}
	}
	wantAfter(t, carryBetween(t, 13, 15, read("schemas", "schema_json"), read("projects", "pep_schema")),
		read("schema_versions", "schema_value"), read("projects", "schema_id"))
	wantAfter(t, carryBetween(t, 5, 15, read("projects", "project_value")),
		read("projects", "config"), read("samples", "sample"), read("subsamples", "subsample"))
	wantAfter(t, carryBetween(t, 15, 13, read("schema_versions", "schema_value")), read("schemas", "schema_json"))
	if c := carryBetween(t, 13, 15, read("schema_groups", "name")); len(c.lost) != 1 {
		t.Errorf("lost: %q", lines(c.lost))
	}
}

func TestRowSecuritySpreads(t *testing.T) {
	closed := attachment{kind: "row security", may: true}
	wantAfter(t, carryBetween(t, 5, 15, on("projects", closed)),
		on("projects", closed), on("samples", closed), on("users", closed), on("schema_records", closed))
	wantAfter(t, carryBetween(t, 13, 15, on("schema_groups", closed)), on("schema_tags", closed))
	c := carryBetween(t, 13, 15, on("schemas", closed))
	wantAfter(t, c, on("schema_versions", closed))
	wantNotAfter(t, c, on("schema_tags", closed), on("schema_migrations", closed))
	// Down, documents would be open that were closed.
	if c := carryBetween(t, 15, 5, on("samples", closed)); len(c.lost) != 1 {
		t.Errorf("lost: %q", lines(c.lost))
	}
	wantAfter(t, carryBetween(t, 15, 5, on("samples", closed), on("projects", closed)), on("projects", closed))
}

func TestWhatGoesIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		from, to int
		attached attachment
	}{
		"policy on a table that goes":         {13, 15, attachment{kind: "policy", table: "schemas", name: "mine"}},
		"policy on a column that goes":        {13, 15, attachment{kind: "policy", table: "projects", name: "mine", columns: "pep_schema"}},
		"index on a column that goes":         {9, 15, attachment{kind: "index", table: "samples", name: "mine", columns: "project_id,row_number"}},
		"view of a retyped column":            {3, 4, attachment{kind: "dependent", table: "projects", name: "view v", columns: "namespace"}},
		"index on what becomes json":          {4, 5, attachment{kind: "index", table: "projects", name: "mine", columns: "project_value"}},
		"expression on a retyped date":        {3, 4, attachment{kind: "expression index", table: "projects", name: "mine", columns: "submission_date"}},
		"key to a table that goes":            {13, 15, attachment{kind: "foreign key", table: "schemas", name: "k", on: "public.x", columns: "id", may: true}},
		"key of somebody else":                {9, 10, attachment{kind: "foreign key", table: "samples", name: "k", on: "x.y", columns: "id"}},
		"comment on a column that goes":       {13, 15, attachment{kind: "column comment", table: "projects", column: "pep_schema", definition: "'x'"}},
		"filtered publication":                {13, 15, attachment{kind: "publication", table: "schemas", name: "p", definition: "a row filter", may: true}},
		"publication of somebody else":        {13, 15, attachment{kind: "publication", table: "schemas", name: "p"}},
		"forced row security":                 {13, 15, attachment{kind: "forced row security", table: "users"}},
		"sequence beyond an integer":          {5, 7, attachment{kind: "sequence options", table: "projects", column: "id", definition: "MAXVALUE 9999999999"}},
		"grant that projects has not":         {15, 7, attachment{kind: "grant", table: "stars", name: "SELECT", definition: "reader"}},
		"comment on a table that goes, down":  {15, 7, attachment{kind: "comment", table: "stars", definition: "'x'"}},
		"odd key of a table that is refilled": {9, 10, attachment{kind: "index form", table: "samples", name: "samples_pkey", columns: "id"}},
		"column of a row type":                {13, 15, attachment{kind: "row type column", table: "projects", name: "column x.y"}},
		"enum in use, down":                   {15, 10, attachment{kind: "type user", table: "updatetypes", name: "column x.y"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c := carryBetween(t, test.from, test.to, test.attached); !slices.Equal(lines(c.lost), []string{test.attached.String()}) {
				t.Errorf("lost: %q, afterwards %q", lines(c.lost), lines(c.after))
			}
		})
	}
}

func TestWhatStays(t *testing.T) {
	for name, test := range map[string]struct {
		from, to int
		attached attachment
		want     attachment
	}{
		"index on a retyped string": {3, 4, attachment{kind: "expression index", table: "projects", name: "mine", columns: "namespace"}, attachment{kind: "expression index", table: "projects", name: "mine", definition: respelt}},
		"view of others":            {3, 4, attachment{kind: "dependent", table: "projects", name: "view v", columns: "id"}, attachment{}},
		"comment on a table": {
			13, 15, attachment{kind: "comment", table: "schemas", definition: "'x'"}, attachment{kind: "comment", table: "schema_records", definition: "'x'"},
		},
		"comment on a column": {
			13, 15, attachment{kind: "column comment", table: "schemas", column: "submission_date", definition: "'x'"},
			attachment{kind: "column comment", table: "schema_versions", column: "release_date", definition: "'x'"},
		},
		"back": {
			15, 13, attachment{kind: "column comment", table: "schema_versions", column: "release_date", definition: "'x'"},
			attachment{kind: "column comment", table: "schemas", column: "submission_date", definition: "'x'"},
		},
		"replica identity of the key": {
			5, 15, attachment{kind: "replica identity index", table: "projects", name: "id"},
			attachment{kind: "replica identity index", table: "projects", name: "projects_namespace_name_tag_key"},
		},
		"trigger of a key that leads elsewhere": {
			13, 15, attachment{kind: "key trigger", table: "schemas", name: "projects_schema_id_fkey", on: "public.projects", definition: "DISABLE RI_FKey_setnull_del", may: true},
			attachment{kind: "key trigger", table: "schema_versions", name: "projects_schema_id_fkey", on: "public.projects", definition: "DISABLE RI_FKey_setnull_del"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := test.want
			if want == (attachment{}) {
				want = test.attached
			}
			test.attached.may = true
			wantAfter(t, carryBetween(t, test.from, test.to, test.attached), want)
		})
	}
}

func TestForeignKeysStepAside(t *testing.T) {
	key := attachment{kind: "foreign key", table: "samples", name: "k", on: "public.notes", definition: "FOREIGN KEY …", columns: "id", may: true}
	if c := carryBetween(t, 9, 15, key); len(c.aside) != 1 || len(c.put) != 1 {
		t.Errorf("aside: %q, put back: %q", lines(c.aside), lines(c.put))
	}
	if c := carryBetween(t, 10, 15, key); len(c.aside) != 0 || len(c.after) != 1 {
		t.Errorf("aside: %q", lines(c.aside))
	}
	key.table, key.columns = "projects", "namespace,name,tag"
	if c := carryBetween(t, 5, 15, key); len(c.aside) != 1 {
		t.Errorf("aside: %q", lines(c.aside))
	}
}

// A table that a newer application has made, and that makes way, gets back what was on
// it, or is refused.
func TestLeftoversGetBackWhatWasOnThem(t *testing.T) {
	steps, err := Load(migrations.FS)
	if err != nil {
		t.Fatal(err)
	}
	at, _ := steps.find(7)
	newest := steps.newest()
	db := schema.Database{Shape: maps.Clone(at.Shape)}
	for object, definition := range newest.Shape {
		if strings.Contains(object, " stars") {
			db.Shape[object] = definition
		}
	}
	read := attachment{kind: "grant", table: "stars", name: "SELECT", definition: "reader", may: true}
	policy := attachment{kind: "policy", table: "stars", name: "mine"}
	c := steps.passage(db, []string{"stars"}, 7, 15).carry([]attachment{read, policy})
	if !slices.Contains(lines(c.put), read.String()) || !slices.Equal(lines(c.lost), []string{policy.String()}) {
		t.Errorf("put: %q, lost: %q", lines(c.put), lines(c.lost))
	}
}

// What an operator names cannot leave the statement that it stands in.
func TestNamesStayNames(t *testing.T) {
	evil := attachment{kind: "grant", table: "schema_groups", name: "SELECT", definition: `"$do$; END {T} {name}"`}
	c := carryBetween(t, 13, 15, evil)
	sql := c.restoreSQL("public")
	if !strings.Contains(sql, `$doo$`) || !strings.Contains(sql, `TO "$do$; END {T} {name}";`) {
		t.Errorf("got\n%s", sql)
	}
}

// Where no step is on the way, nobody's trigger is in it, but for those of the tables
// that are written.
func TestTriggersAreLeftAloneWithoutSteps(t *testing.T) {
	own := attachment{kind: "trigger", table: "projects", name: "mine", definition: "ENABLE", may: true}
	if c := carryBetween(t, 15, 15, own); len(c.aside) != 0 || len(c.after) != 1 {
		t.Errorf("aside: %q", lines(c.aside))
	}
	if c := carryBetween(t, 14, 15, own); len(c.aside) != 1 {
		t.Errorf("aside: %q", lines(c.aside))
	}
	own.table = "schema_migrations"
	if c := carryBetween(t, 15, 15, own); len(c.aside) != 1 {
		t.Errorf("aside: %q", lines(c.aside))
	}
}
