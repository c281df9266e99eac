package migrator

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"pephub-migrate/internal/config"
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
		}, "step 5 is missing: after 4 comes 6"},
		"date for number": {func(m fstest.MapFS) { m["202611_third.up.sql"] = m["000003_first.up.sql"] }, "step 5 is missing: after 4 comes 202611"},
		"step 0":          {func(m fstest.MapFS) { m["000000_zeroth.up.sql"] = m["000003_first.up.sql"] }, "000000_zeroth.up.sql: the number of a step is 1 or more"},
		"no up":           {func(m fstest.MapFS) { delete(m, "000004_second.up.sql") }, "step 4 has no .up.sql file"},
		"no down":         {func(m fstest.MapFS) { delete(m, "000004_second.down.sql") }, "step 4 has no .down.sql file"},
		"no snapshot":     {func(m fstest.MapFS) { delete(m, "000003_first.schema.txt") }, "step 3 has no .schema.txt file"},
		"none":            {func(m fstest.MapFS) { clear(m) }, "there are no steps"},
		"misnamed":        {func(m fstest.MapFS) { m["000005-third.up.sql"] = m["000003_first.up.sql"] }, "000005-third.up.sql: not the name"},
		"two names":       {func(m fstest.MapFS) { m["000004_again.up.sql"] = m["000003_first.up.sql"] }, "also called"},
		"no header":       {set("000004_second.up.sql", "SELECT 1;"), `line 1 must begin with "-- Release: "`},
		"empty header":    {set("000004_second.up.sql", strings.Replace(header, "stays.", "", 1)+"SELECT 1;"), `line 2 must begin with "-- Data: "`},
		"no statement":    {set("000004_second.down.sql", header+"-- SELECT 1;"), "000004_second.down.sql: there is no statement"},
		"not ASCII":       {set("000004_second.up.sql", header+"SELECT 1; -- …"), "is not ASCII"},
		"BEGIN":           {set("000004_second.up.sql", header+"begin; SELECT 1;"), "begin must not stand in a step"},
		"COMMIT":          {set("000004_second.up.sql", header+"SELECT 1;\nCOMMIT ;"), "COMMIT must not stand in a step"},
		"END":             {set("000004_second.up.sql", header+"SELECT 1;END;"), "END must not stand in a step"},
		"CONCURRENTLY":    {set("000004_second.up.sql", header+"CREATE INDEX concurrently ON a (b);"), "CONCURRENTLY cannot run"},
		"placeholder":     {set("000004_second.up.sql", "-- Release: TODO: …\n-- Data: TODO: …\n-- Undo: TODO: …\nSELECT 1;"), "000004_second.up.sql: line 1 still says TODO: write it"},
		"last header":     {set("000004_second.down.sql", strings.Replace(header, "nothing.", "TODO: write this", 1)+"SELECT 1;"), "000004_second.down.sql: line 3 still says TODO"},
		"TODO":            {set("000004_second.up.sql", header+"SELECT 1; -- it's a TODO"), "line 4 still says TODO"},
		"TODO, block":     {set("000004_second.up.sql", header+"SELECT 'a\nb';\n/* what\n\nTODO: decide */ SELECT 1;"), "line 8 still says TODO"},
		"TODO, body":      {set("000004_second.up.sql", header+"DO $$ BEGIN -- it's\n-- TODO: count\nRAISE 'don''t'; END $$;"), "line 5 still says TODO"},
		"TODO, below":     {set("000004_second.up.sql", header+"SELECT $$it's$$;\n-- TODO: count\nSELECT 'b';"), "line 5 still says TODO"},
		"same object":     {set("000004_second.schema.txt", "table a\ntable a\n"), `"table a" more than once`},
		"no objects":      {set("000004_second.schema.txt", "alembic_version: 0123456789ab\n"), "step 4 has no .schema.txt file"},
		"revision":        {set("000004_second.schema.txt", "alembic_version: '; DROP\ntable a\n"), "not a revision"},
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

// A folder may hold more than steps, as migrations/ and a mounted ConfigMap do, but no
// step that is misnamed.
func TestFolder(t *testing.T) {
	own, err := Load(twoSteps())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(fstest.MapFS)
		says   string
	}{
		"as it is": {func(fstest.MapFS) {}, ""},
		"beside other things": {func(m fstest.MapFS) {
			for _, file := range []string{"migrations.go", "schema.sql", "README.md", "notes/000005_third.up.sql", "..data/x", ".000004_second.up.sql.swp"} {
				set(file, "x")(m)
			}
		}, ""},
		"misnamed":        {set("000005-third.up.sql", "x"), "000005-third.up.sql: not the name of a step's file"},
		"not SQL":         {set("000004_second.up.txt", "x"), "000004_second.up.txt: not the name"},
		"left over":       {set("000004_second.up.sql~", "x"), "000004_second.up.sql~: not the name"},
		"subfolder":       {set("2026/000005_third.up.sql", "x"), "2026: not the name"},
		"without number":  {set("third.up.sql", "x"), "third.up.sql: not the name"},
		"folder as file":  {set("000005_third.up.sql/x", "x"), "000005_third.up.sql: "},
		"not checked yet": {set("000004_second.up.sql", header+"COMMIT;"), "000004_second.up.sql: COMMIT must not"},
		"Windows":         {set("000004_second.schema.txt", "table a\r\n"), "000004_second.schema.txt: its lines end with CR LF"},
		"first missing": {func(m fstest.MapFS) {
			for file := range m {
				if strings.HasPrefix(file, "000003") {
					delete(m, file)
				}
			}
		}, "the first is step 4, and those from step 3 on are missing"},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := twoSteps()
			test.change(fsys)
			steps, err := loadFolder(fsys, own)
			switch {
			case test.says == "" && (err != nil || len(steps.without(own)) > 0):
				t.Errorf("got %v, which differ: %v", err, steps.without(own))
			case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
	other := twoSteps()
	set("000004_second.down.sql", header+"SELECT 3;\n")(other)
	steps, err := loadFolder(other, own)
	if got := steps.without(own); err != nil || len(got) != 1 || got[0] != "4 second" {
		t.Errorf("got %v, %v", got, err)
	}
}

// Kubernetes mounts a ConfigMap as links to links, and swaps them when it changes. What
// was read is what runs.
func TestFolderIsReadOnce(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "..2026_11_25"), twoSteps()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..2026_11_25", filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	for file := range twoSteps() {
		if err := os.Symlink(filepath.Join("..data", file), filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	m, err := New(twoSteps(), config.Config{MigrationsDir: dir}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if want := "level=WARN msg=\"the steps are those in MIGRATIONS_DIR, not the image's own\" folder=" + dir + " steps=2 differ="; !strings.Contains(log.String(), want) {
		t.Errorf("the log says %s", &log)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	body, name, err := stepSource{m.steps}.ReadUp(4)
	if err != nil || name != "second" {
		t.Fatal(name, err)
	}
	if text, err := io.ReadAll(body); err != nil || string(text) != header+"SELECT 1;\n" {
		t.Errorf("got %q, %v", text, err)
	}
	if _, err := New(twoSteps(), config.Config{MigrationsDir: dir}, m.log); !errors.Is(err, ErrFolder) ||
		!strings.HasSuffix(err.Error(), "MIGRATIONS_DIR cannot be used: read the steps: no such file or directory") {
		t.Errorf("got %v", err)
	}
	if _, err := New(twoSteps(), config.Config{MigrationsDir: t.TempDir()}, m.log); !errors.Is(err, ErrFolder) ||
		!strings.HasSuffix(err.Error(), "there are no steps") {
		t.Errorf("got %v", err)
	}
}

// golang-migrate takes fs.ErrNotExist for the end of the way, and asks beyond it.
func TestStepSourceHasTwoEnds(t *testing.T) {
	steps, err := Load(twoSteps())
	if err != nil {
		t.Fatal(err)
	}
	source := stepSource{steps}
	if first, err := source.First(); first != 3 || err != nil {
		t.Errorf("the first is %d, %v", first, err)
	}
	if next, err := source.Next(3); next != 4 || err != nil {
		t.Errorf("after 3 comes %d, %v", next, err)
	}
	if prev, err := source.Prev(4); prev != 3 || err != nil {
		t.Errorf("before 4 comes %d, %v", prev, err)
	}
	_, before := source.Prev(3)
	_, after := source.Next(4)
	_, _, up := source.ReadUp(5)
	_, _, down := source.ReadDown(2)
	for _, err := range []error{before, after, up, down} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	}
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
		INSERT INTO words VALUES ('TODO', '-- TODO'); -- MASTODON
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

// A database that lacks indexes of several steps is at that one of them which it
// resembles most: the steps above it may do more than make their indexes. They are made
// as their steps make them, which a snapshot does not say.
func TestRecogniseWithoutIndexes(t *testing.T) {
	const (
		shape  = "table a\ncolumn a.b: integer\ncolumn a.c: text\n"
		plain  = "CREATE INDEX a_b_idx ON a (b);\n"
		unique = "CREATE UNIQUE INDEX a_c_idx ON a (c DESC);\n"
		later  = "CREATE INDEX IF NOT EXISTS later ON a (lower(c) text_pattern_ops)\n    WHERE c <> '';\n"
	)
	set := twoSteps()
	for name, step := range map[string]struct{ sql, indexes string }{
		"000005_third":  {plain + unique, "index a.a_b_idx: btree (b)\nindex a.a_c_idx: unique btree (c)\n"},
		"000006_fourth": {later, "index a.a_b_idx: btree (b)\nindex a.a_c_idx: unique btree (c)\nindex a.later: btree (an expression) partial\n"},
		"000007_fifth": {"DO $$BEGIN CREATE INDEX hidden ON a (c); END$$;\n",
			"index a.a_b_idx: btree (b)\nindex a.a_c_idx: unique btree (c)\nindex a.later: btree (an expression) partial\nindex a.hidden: btree (c)\n"},
	} {
		for _, ending := range []string{".up.sql", ".down.sql"} {
			set[name+ending] = &fstest.MapFile{Data: slices.Concat(set["000003_first"+ending].Data, []byte("\n"+step.sql))}
		}
		set[name+".schema.txt"] = &fstest.MapFile{Data: []byte(shape + step.indexes)}
	}
	steps, err := Load(set)
	if err != nil {
		t.Fatal(err)
	}
	const locked = "LOCK TABLE a IN ACCESS EXCLUSIVE MODE;\n"
	for have, want := range map[string]struct {
		step int
		sql  string
	}{
		"":                             {5, locked + plain + unique},
		"index a.a_b_idx: btree (b)\n": {5, locked + unique},
		"index a.a_b_idx: btree (b)\nindex a.later: btree (an expression) partial\n":                                    {6, unique},
		"index a.a_b_idx: btree (b)\nindex a.a_c_idx: unique btree (c)\nindex a.hidden: btree (c)\n":                    {5, locked},
		"index a.later: btree (an expression) partial\nindex a.a_c_idx: btree (c)\n":                                    {0, ""},
		"index a.later: btree (an expression) partial\nindex a.hidden: btree (c)\n":                                     {7, locked + plain + unique},
		"index a.a_b_idx: btree (b)\nindex a.a_c_idx: unique btree (c)\nindex a.later: gin (an expression)\n":           {5, locked},
		"index a.a_b_idx: btree (b)\nindex a.a_c_idx: unique btree (c)\nindex a.later: btree (an expression) partial\n": {6, ""},
	} {
		parsed, err := schema.ParseShape(shape + have)
		if err != nil {
			t.Fatal(err)
		}
		at, ok := steps.withoutIndexes(parsed)
		if ok != (want.step > 0) || at.step != want.step {
			t.Errorf("%q: got step %d, want %d", have, at.step, want.step)
		} else if ok && len(at.missing) > 0 && steps.indexSQL(at, 6) != want.sql {
			t.Errorf("%q: got %q, want %q", have, steps.indexSQL(at, 6), want.sql)
		}
	}
}

// golang-migrate calls SetVersion and not Run for a version that has no file in the
// direction it is going.
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
	steps, err := Load(twoSteps())
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{steps: steps, version: 3, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	engine, err := newEngine(d)
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
