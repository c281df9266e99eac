package migrator

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"pephub-migrate/internal/schema"
	"pephub-migrate/migrations"
)

const header = "-- Release: pepdbagent 9.9: a test.\n-- Data: stays.\n-- Undo: nothing.\n"

// twoSteps is a faultless set that a test may spoil.
func twoSteps() fstest.MapFS {
	steps := fstest.MapFS{}
	for _, name := range []string{"000003_first", "000004_second"} {
		steps[name+".up.sql"] = &fstest.MapFile{Data: []byte(header + "SELECT 1;\n")}
		steps[name+".down.sql"] = &fstest.MapFile{Data: []byte(header + "SELECT 2;\n")}
		steps[name+".schema.txt"] = &fstest.MapFile{Data: []byte("table " + name + "\n")}
	}
	steps["000004_second.schema.txt"].Data = []byte("alembic_version: 0123456789ab\ntable a\ncolumn a.b: integer\n")
	steps["000004_second.alembic.schema.txt"] = &fstest.MapFile{Data: []byte("table a\ncolumn a.b: bigint\n")}
	return steps
}

func TestEmbeddedStepsAreFaultless(t *testing.T) {
	steps, err := Load(migrations.FS)
	if err != nil {
		t.Fatal(err)
	}
	if err := steps.Check(); err != nil {
		t.Error(err)
	}
	if last := steps.newest(); last.Revision == "" {
		t.Errorf("migrations/%06d_%s.schema.txt has no line alembic_version: without the revision that pepdbagent's Alembic is at, one that is "+
			"started with run_migrations=True would run them all again", last.Number, last.Name)
	}
	for i, step := range steps {
		for _, name := range regexp.MustCompile(`application_name = '(.*)'`).FindAllStringSubmatch(step.up+step.down, -1) {
			if len(name[1]) > 63 || !strings.HasPrefix(name[1], "pephub-migrate: ") {
				t.Errorf("step %d: %q is cut off, or not for the watcher", step.Number, name[1])
			}
		}
		if i > 0 && len(step.Shape.Diff(steps[i-1].Shape)) == 0 && len(step.Shape) == len(steps[i-1].Shape) {
			t.Errorf("step %d looks like the one before", step.Number)
		}
	}
}

func TestLoad(t *testing.T) {
	steps, err := Load(twoSteps())
	if err != nil {
		t.Fatal(err)
	}
	second := steps.newest()
	if second.Number != 4 || second.Name != "second" || second.Release != "pepdbagent 9.9" ||
		second.Revision != "0123456789ab" || len(second.Shape) != 2 || len(second.Variants) != 1 ||
		!strings.HasSuffix(second.up, "SELECT 1;\n") || !strings.HasSuffix(second.down, "SELECT 2;\n") {
		t.Errorf("loaded %+v", second)
	}
}

func TestLoadRefusesFaultySets(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(fstest.MapFS)
		says  string
	}{
		"gap": {func(m fstest.MapFS) {
			for _, suffix := range []string{".up.sql", ".down.sql", ".schema.txt"} {
				m["000006_third"+suffix] = m["000003_first"+suffix]
			}
		}, "step 5 is missing"},
		"no up":        {func(m fstest.MapFS) { delete(m, "000004_second.up.sql") }, "step 4 has no .up.sql file"},
		"no down":      {func(m fstest.MapFS) { delete(m, "000004_second.down.sql") }, "step 4 has no .down.sql file"},
		"no snapshot":  {func(m fstest.MapFS) { delete(m, "000003_first.schema.txt") }, "step 3 has no .schema.txt file"},
		"none":         {func(m fstest.MapFS) { clear(m) }, "there are no steps"},
		"misnamed":     {func(m fstest.MapFS) { m["000005-third.up.sql"] = m["000003_first.up.sql"] }, "000005-third.up.sql: not the name"},
		"two names":    {func(m fstest.MapFS) { m["000004_again.up.sql"] = m["000003_first.up.sql"] }, "also called"},
		"no header":    {set("000004_second.up.sql", "SELECT 1;"), `line 1 must begin with "-- Release: "`},
		"empty header": {set("000004_second.up.sql", strings.Replace(header, "stays.", "", 1)+"SELECT 1;"), `line 2 must begin with "-- Data: "`},
		"no statement": {set("000004_second.down.sql", header+"-- SELECT 1;"), "000004_second.down.sql: there is no statement"},
		"not ASCII":    {set("000004_second.up.sql", header+"SELECT 1; -- …"), "is not ASCII"},
		"BEGIN":        {set("000004_second.up.sql", header+"begin; SELECT 1;"), "begin must not stand in a step"},
		"COMMIT":       {set("000004_second.up.sql", header+"SELECT 1;\nCOMMIT ;"), "COMMIT must not stand in a step"},
		"END":          {set("000004_second.up.sql", header+"SELECT 1;END;"), "END must not stand in a step"},
		"CONCURRENTLY": {set("000004_second.up.sql", header+"CREATE INDEX concurrently ON a (b);"), "CONCURRENTLY cannot run"},
		"same object":  {set("000004_second.schema.txt", "table a\ntable a\n"), `"table a" more than once`},
		"no objects":   {set("000004_second.schema.txt", "alembic_version: 0123456789ab\n"), "step 4 has no .schema.txt file"},
		"revision":     {set("000004_second.schema.txt", "alembic_version: '; DROP\ntable a\n"), "not a revision"},
	} {
		t.Run(name, func(t *testing.T) {
			set := twoSteps()
			test.spoil(set)
			if err := loadAndCheck(set); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}

func loadAndCheck(fsys fs.FS) error {
	steps, err := Load(fsys)
	if err != nil {
		return err
	}
	return steps.Check()
}

func set(file, content string) func(fstest.MapFS) {
	return func(m fstest.MapFS) { m[file] = &fstest.MapFile{Data: []byte(content)} }
}

// PL/pgSQL's own BEGIN and END, quoted text and comments are no commands of the step.
func TestLoadAllowsBlocks(t *testing.T) {
	steps := twoSteps()
	set("000004_second.up.sql", header+`
		DO $$
		BEGIN
			IF true THEN BEGIN NULL; END; END IF;
		END
		$$;
		DO $body$ BEGIN NULL; END; $body$; /* ; COMMIT; */
		SELECT '; COMMIT;', CASE WHEN true THEN 1 END; -- ; ROLLBACK; CONCURRENTLY`)(steps)
	if err := loadAndCheck(steps); err != nil {
		t.Error(err)
	}
}

func TestRecognise(t *testing.T) {
	steps, err := Load(twoSteps())
	if err != nil {
		t.Fatal(err)
	}
	shape := func(text string) schema.Shape {
		parsed, err := schema.ParseShape(text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	first, second := shape("table 000003_first\n"), shape("table a\ncolumn a.b: integer\n")
	for name, test := range map[string]struct {
		db    schema.Database
		want  int
		class error
	}{
		"empty":                     {schema.Database{}, 0, nil},
		"empty, with records":       {schema.Database{Recorded: schema.Empty, Alembic: schema.Empty}, 0, nil},
		"first":                     {schema.Database{Shape: first}, 3, nil},
		"second":                    {schema.Database{Shape: second}, 4, nil},
		"variant":                   {schema.Database{Shape: shape("table a\ncolumn a.b: bigint\n")}, 4, nil},
		"operator's index":          {schema.Database{Shape: shape("table a\ncolumn a.b: integer\nindex a.mine: btree (b)\n")}, 4, nil},
		"records are not believed":  {schema.Database{Shape: first, Recorded: "4", Alembic: "0123456789ab"}, 3, nil},
		"other program":             {schema.Database{Others: []string{"orders"}}, 0, ErrUnrecognised},
		"other program's versions":  {schema.Database{Shape: second, Recorded: schema.Unreadable}, 0, ErrUnrecognised},
		"other program's revisions": {schema.Database{Shape: second, Alembic: schema.Unreadable}, 0, ErrUnrecognised},
		"newer":                     {schema.Database{Shape: second, Recorded: "5"}, 0, ErrNewer},
		"unknown revision":          {schema.Database{Shape: second, Alembic: "ffffffffffff"}, 0, ErrNewer},
		"two revisions":             {schema.Database{Shape: second, Alembic: "0123456789ab ffffffffffff"}, 0, ErrNewer},
		"altered":                   {schema.Database{Shape: shape("table a\ncolumn a.b: text\n")}, 0, ErrUnrecognised},
		"only an enum is left":      {schema.Database{Shape: shape("enum updatetypes: UPDATE\n")}, 0, nil},
		"with a later table":        {schema.Database{Shape: shape("table 000003_first\ntable a\ncolumn a.b: integer\n")}, 3, nil},
		"with a later column":       {schema.Database{Shape: shape("table 000003_first\ncolumn 000003_first.b: integer\n")}, 0, ErrUnrecognised},
	} {
		t.Run(name, func(t *testing.T) {
			test.db.Schema = "public"
			got, err := steps.recognise(test.db)
			if got.step != test.want || !errors.Is(err, test.class) {
				t.Errorf("got %d, %v", got.step, err)
			}
		})
	}
	var unrecognised *ShapeError
	if _, err := steps.recognise(schema.Database{}); !errors.Is(err, ErrUnrecognised) {
		t.Errorf("no schema: %v", err)
	}
	if _, err := steps.recognise(schema.Database{Schema: "public", Shape: shape("table a\ncolumn a.b: text\n")}); !errors.As(err, &unrecognised) ||
		unrecognised.Nearest.Number != 4 || len(unrecognised.Differences) != 1 {
		t.Errorf("the nearest step is not named: %v", err)
	}
}

// golang-migrate calls SetVersion and not Run for a version that has no file in the direction it is going.
func TestDriverRecordsNothingThatDidNotRun(t *testing.T) {
	d := &driver{version: 3}
	if err := d.SetVersion(4, true); err != nil {
		t.Fatal(err)
	}
	if err := d.SetVersion(4, false); !errors.Is(err, ErrStep) || d.version != 3 {
		t.Errorf("got %v, at step %d", err, d.version)
	}
}

func TestDriverRefusesAnotherBody(t *testing.T) {
	steps, err := Load(twoSteps())
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"", header, steps.newest().down} {
		d := &driver{steps: steps, version: 3, next: 4}
		if err := d.Run(strings.NewReader(body)); !errors.Is(err, ErrStep) {
			t.Errorf("body %q: %v", body, err)
		}
	}
}

// golang-migrate returns nil when it was stopped before the last step.
func TestReachNoticesAnEarlyStop(t *testing.T) {
	var fsys fs.FS = twoSteps()
	steps, err := Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{steps: steps, version: 3, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	engine, err := newEngine(fsys, d)
	if err != nil {
		t.Fatal(err)
	}
	engine.GracefulStop <- true
	if err := reach(engine, d, 4); !errors.Is(err, ErrStep) {
		t.Errorf("got %v", err)
	}
}

func TestLineOf(t *testing.T) {
	for position, want := range map[int]int{0: 0, 1: 1, 4: 1, 5: 2, 6: 3, 99: 3} {
		if got := lineOf("é;b\n\nx", position); got != want {
			t.Errorf("position %d: line %d, want %d", position, got, want)
		}
	}
}
