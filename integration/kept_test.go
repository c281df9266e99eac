package integration

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/migrator"
	"pephub-migrate/migrations"
)

// newDatabaseWith is newDatabase with options of CREATE DATABASE.
func newDatabaseWith(t *testing.T, options string, files ...string) string {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "_", " ", "_").Replace(t.Name()))
	execute(t, connect(t, "postgres"), "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE template0 "+options)
	t.Cleanup(func() {
		execute(t, connect(t, "postgres"), "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
	})
	conn := connect(t, name)
	for _, file := range files {
		execute(t, conn, readFile(t, filepath.Join("testdata", file)))
	}
	return name
}

// encodings are those of the databases below, by the options that make one. UTF8 has
// every character, LATIN1 those below U+0100, and SQL_ASCII is not known to have any
// above U+007F.
var encodings = map[string]string{
	"UTF8":      "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
	"LATIN1":    "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
	"SQL_ASCII": "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
}

// escaped are members by the name "{{name}}", with the text that a column of each
// encoding can hold. The one of LATIN1 is that of UTF8 unless it is given, and that of
// SQL_ASCII is that of LATIN1.
var escaped = []struct{ json, utf8, latin1, ascii string }{
	{json: `{"{{name}}": "plain", "note": "\u2014"}`, utf8: "plain"},
	{`{"{{name}}": "a\u2014b\u00e9", "x": 1}`, "a—bé", "abé", "ab"},
	{json: `{"{{name}}": "\\u2014", "note": "\u2014"}`, utf8: `\u2014`},
	{json: `{"{{name}}": "\\\u0041\\\\u0041", "note": "\u2014"}`, utf8: `\A\\u0041`},
	{json: `{"nested": {"{{name}}": "no \u2014"}, "{{name}}": "yes", "more": [{"{{name}}": "\u2014"}]}`, utf8: "yes"},
	{json: `{"{{name}}": "first", "{{name}}": "last\u0000", "n": "\u2014"}`, utf8: "last"},
	{json: `{"{{name}}": {"in": "\u2014\u0000", "{{name}}": 1}}`, utf8: `{"in": "\u2014\u0000", "{{name}}": 1}`},
	{`{"{{name}}": "\ud83d\ude00x\ud800y\ude00", "z": "\ud800"}`, "😀xy", "xy", "xy"},
	{json: `{"{{spelled}}": "spelled", "n": "\u2014"}`, utf8: "spelled"},
	{json: `{"{{name}}": null, "n": "\u2014"}`, utf8: null},
	{json: `{"{{name}}": 1.0, "n": "\u2014"}`, utf8: "1.0"},
	{json: `{"n": "\u2014", "m": "\u0000"}`, utf8: null},
	{`{"{{name}}": "q\"\\\u2014\nr\t\u001f"}`, "q\"\\—\nr\t\x1f", "q\"\\\nr\t\x1f", "q\"\\\nr\t\x1f"},
	{json: `{"{{name}}": "\u007fu0041\u007fd", "n": "\u2014"}`, utf8: "\x7fu0041\x7fd"},
	{json: "{\"{{name}}\": \"\x7fu0041\x7fd\", \"\x7f\": \"\\u2014\"}", utf8: "\x7fu0041\x7fd"},
	{json: `{"{{name}}": "no escape"}`, utf8: "no escape"},
	{json: `{ "{{name}}" : "", "n":"\u2014"}`, utf8: ""},
}

// wantEscaped replaces the name in the texts of escaped, and picks those of an encoding.
func wantEscaped(encoding, name, spelled string) (documents, texts []string) {
	replace := strings.NewReplacer("{{name}}", name, "{{spelled}}", spelled).Replace
	for _, e := range escaped {
		text := e.utf8
		if encoding != "UTF8" && e.latin1 != "" {
			text = e.latin1
		}
		if encoding == "SQL_ASCII" && e.ascii != "" {
			text = e.ascii
		}
		documents = append(documents, replace(e.json))
		texts = append(texts, replace(text))
	}
	return documents, texts
}

// Of a document only that member is decoded that becomes a column, and of that only what
// the encoding has; the document itself stays as it is, byte for byte, up and down and up
// again.
func TestEscapesThatTheEncodingLacks(t *testing.T) {
	for encoding, options := range encodings {
		t.Run("samples "+encoding, func(t *testing.T) {
			t.Parallel()
			db := newDatabaseWith(t, options, "pepdbagent-0.6.0.sql")
			conn := connect(t, db)
			documents, names := wantEscaped(encoding, "sample_name", `s\u0061mple_name`)
			// A column of the project's own, of whose name LATIN1 has the second half,
			// and one that differs in the first.
			documents = append(documents,
				`{"sample_name": "not this", "\u6c34\u00e9": "nor this", "\u540d\u00e9": "own", "n": "\u2014"}`,
				`{"\u00e9": "not this"}`, `{"n": "\u2014", "\\u540d\u00e9": "not this"}`)
			names = append(names, "own", null, null)
			execute(t, conn, `
				INSERT INTO projects (id, namespace, name, tag, digest, config, private, number_of_samples, submission_date)
				SELECT id, 'a', 'p' || id, 't', 'd', config::json, false, 0, now()
				FROM (VALUES
					(1, '{"name": "p1", "note": "\u2014\u0000", "name": "other\u2014"}'),
					(2, '{"sample_table_index": "\u540d\u00e9", "name": "p2"}')
				) AS v (id, config)`)
			for i, document := range documents {
				project := 1
				if i >= len(escaped) {
					project = 2
				}
				execute(t, conn, fmt.Sprintf("INSERT INTO samples (sample, project_id, row_number) VALUES (%s, %d, %d)", literal(document), project, i))
			}
			const texts = "SET client_encoding = 'SQL_ASCII'; SELECT sample::text FROM samples ORDER BY id"
			for range 2 {
				if err := move(t, migrations.FS, db, config.Up, described); err != nil {
					t.Fatal(err)
				}
				if got := query(t, conn, texts); !slices.Equal(got, documents) {
					t.Errorf("the samples have changed:\n%s", diff(strings.Join(documents, "\n"), strings.Join(got, "\n")))
				}
				var got []string
				for _, row := range rows(t, conn, "SET client_encoding = '"+clientEncoding(encoding)+"'; SELECT sample_name FROM samples ORDER BY id") {
					got = append(got, row[0])
				}
				if !slices.Equal(got, names) {
					t.Errorf("names:\ngot  %q\nwant %q", got, names)
				}
				wantRows(t, db, "SELECT config::text FROM projects WHERE id = 1", `{"name": "p1", "note": "\u2014\u0000", "name": "p1"}`)
				wantRows(t, db, "SELECT project_id || ' ' || name FROM archived_project_config_names", `1 "other\u2014"`)
				if err := move(t, migrations.FS, db, config.Down, 7); err != nil {
					t.Fatal(err)
				}
				if got := query(t, conn, texts); !slices.Equal(got, documents) {
					t.Errorf("the samples have changed:\n%s", diff(strings.Join(documents, "\n"), strings.Join(got, "\n")))
				}
				wantRows(t, db, "SELECT config::text FROM projects ORDER BY id",
					`{"name": "p1", "note": "\u2014\u0000", "name": "other\u2014"}`, `{"sample_table_index": "\u540d\u00e9", "name": "p2"}`)
			}
		})
		t.Run("documents "+encoding, func(t *testing.T) {
			t.Parallel()
			db := newDatabaseWith(t, options, "pepdbagent-0.4.2.sql")
			conn := connect(t, db)
			documents, descriptions := wantEscaped(encoding, "description", `d\u0065scription`)
			for i, document := range documents {
				execute(t, conn, fmt.Sprintf("INSERT INTO projects VALUES (%d, 'a', 'p%[1]d', 't', 'd', %s, false, 0, now(), now(), NULL)", i+1, literal(document)))
			}
			const texts = "SET client_encoding = 'SQL_ASCII'; SELECT project_value::text FROM projects ORDER BY id"
			for range 2 {
				if err := move(t, migrations.FS, db, config.Up, 6); err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, row := range rows(t, conn, "SET client_encoding = '"+clientEncoding(encoding)+"'; SELECT description FROM projects ORDER BY id") {
					got = append(got, row[0])
				}
				if !slices.Equal(got, descriptions) {
					t.Errorf("descriptions:\ngot  %q\nwant %q", got, descriptions)
				}
				if err := move(t, migrations.FS, db, config.Down, 5); err != nil {
					t.Fatal(err)
				}
				if got := query(t, conn, texts); !slices.Equal(got, documents) {
					t.Errorf("the documents have changed:\n%s", diff(strings.Join(documents, "\n"), strings.Join(got, "\n")))
				}
			}
			// Another description since.
			if err := move(t, migrations.FS, db, config.Up, 6); err != nil {
				t.Fatal(err)
			}
			execute(t, conn, "UPDATE projects SET description = 'new' WHERE id = 2")
			if err := move(t, migrations.FS, db, config.Down, 5); err != nil {
				t.Fatal(err)
			}
			wantRows(t, db, "SELECT project_value::text FROM projects WHERE id = 2", `{"x": 1, "description": "new"}`)
		})
		t.Run("parts "+encoding, func(t *testing.T) {
			t.Parallel()
			db := newDatabaseWith(t, options, "pepdbagent-0.4.3.sql")
			conn := connect(t, db)
			const config42 = `{"name": "p1", "note": "\u2014\u0000\ud800", "description": "in \u2014 config"}`
			execute(t, conn, `
				INSERT INTO projects (id, namespace, name, tag, digest, project_value, private, number_of_samples, submission_date, last_update_date, description)
				VALUES (1, 'a', 'p1', 't', 'd',
					'{"name": "p1", "description": "in  config", "_config": `+config42+`,
					"_sample_dict": {"sample_name": {"\u2014": "\u2014", "b": "b"}, "x\u2014": {"\u2014": "\\u2014", "b": "\u0000"}},
					"_subsample_list": [[{"sample_name": "\u2014"}]]}', false, 2, now(), now(), 'in  config'),
				(2, 'a', 'p2', 't', 'd', '{"_config": {"description": ""}, "description": "\u2014", "_sample_dict": [{"a": "\u2014"}]}', false, 1, now(), now(), '')`)
			if err := move(t, migrations.FS, db, config.Up, described); err != nil {
				t.Fatal(err)
			}
			wantRows(t, db, "SELECT config::text FROM projects ORDER BY id", config42, `{"description": "", "name": "p2"}`)
			wantRows(t, db, "SELECT sample::text FROM samples ORDER BY id",
				`{"sample_name": "\u2014", "x\u2014": "\\u2014"}`, `{"sample_name": "b", "x\u2014": "\u0000"}`, `{"a": "\u2014"}`)
			wantRows(t, db, "SELECT subsample::text FROM subsamples", `{"sample_name": "\u2014"}`)
			// The description is in no column, since no column can hold it: nor the
			// config, whose own is another.
			wantRows(t, db, "SELECT project_id || ' ' || lossy FROM archived_project_values", "2 false")
			if err := move(t, migrations.FS, db, config.Down, 6); err != nil {
				t.Fatal(err)
			}
			wantRows(t, db, "SELECT project_value::text FROM projects ORDER BY id",
				`{"_sample_dict": [{"sample_name": "\u2014", "x\u2014": "\\u2014"}, {"sample_name": "b", "x\u2014": "\u0000"}], `+
					`"_config": `+config42+`, "_subsample_list": [[{"sample_name": "\u2014"}]]}`,
				`{"_sample_dict": [{"a": "\u2014"}], "_config": {"description": "", "name": "p2"}, "_subsample_list": null, "description": "\u2014"}`)
		})
	}
}

// clientEncoding is that in which a test reads texts: no bytes are known to be characters
// in SQL_ASCII.
func clientEncoding(encoding string) string {
	if encoding == "LATIN1" {
		return "UTF8"
	}
	return encoding
}

// Step 7 makes ids unique, which they need not have been: the next one is free, and a run
// that fails has taken none.
func TestNextProjectHasAFreeId(t *testing.T) {
	for name, test := range map[string]struct{ prepare, want string }{
		"never used":   {"SELECT", "10"},
		"behind":       {"SELECT setval('projects_id_seq', 3)", "10"},
		"at the last":  {"SELECT setval('projects_id_seq', 9)", "10"},
		"at the next":  {"SELECT setval('projects_id_seq', 9, false)", "10"},
		"ahead":        {"SELECT setval('projects_id_seq', 99)", "100"},
		"its own step": {"ALTER SEQUENCE projects_id_seq INCREMENT 5; SELECT setval('projects_id_seq', 4)", "10"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, "pepdbagent-0.4.2.sql")
			conn := connect(t, db)
			execute(t, conn, `
				INSERT INTO projects SELECT id, 'a', 'p' || id, 't', 'd', '{}', false, 0, now(), now(), NULL FROM generate_series(5, 9) AS id;`+test.prepare)
			before := dump(t, db)
			fsys := copySteps(t)
			appendTo(t, fsys, lastStep(t), "SELECT 1 / 0;")
			if err := move(t, fsys, db, config.Up, 0); err == nil {
				t.Fatal("the last step ought to fail")
			}
			wantUnchanged(t, db, before)
			if err := move(t, migrations.FS, db, config.Up, 0); err != nil {
				t.Fatal(err)
			}
			wantRows(t, db, "SELECT nextval('projects_id_seq')::text", test.want)
		})
	}
}

// moveWithNotices is move, and returns what the steps have said.
func moveWithNotices(t *testing.T, db, action string, target int) (notices []string) {
	t.Helper()
	cfg := connect(t, db).Config()
	cfg.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { notices = append(notices, notice.Message) }
	ctx := context.Background()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	steps, err := migrator.New(migrations.FS, config.Config{
		Action: action, Target: target, Server: fixed(&cfg.Config), WaitTimeout: time.Second, LockTimeout: time.Second,
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := steps.Migrate(ctx, conn.PgConn()); err != nil {
		t.Fatal(err)
	}
	return notices
}

// Users of one namespace become one, and what they and their stars were is kept; it is
// not undone.
func TestUsersThatBecomeOneAreKept(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.8.0.sql")
	conn := connect(t, db)
	execute(t, conn, `
		INSERT INTO projects (id, namespace, name, tag, digest, config, private, number_of_samples, number_of_stars, submission_date)
		SELECT id, 'ada', 'p' || id, 't', 'd', json_build_object('name', 'p' || id), false, 0, 0, '2024-01-01' FROM generate_series(1, 3) AS id;
		INSERT INTO users (id, namespace) VALUES (1, 'ada'), (2, 'ada'), (3, 'bob'), (4, 'ada');
		INSERT INTO stars (user_id, project_id, star_date) VALUES
			(1, 1, '2024-02-02'), (2, 1, '2024-02-01'), (4, 1, '2024-02-03'), -- the earliest date counts
			(2, 2, '2024-03-01'),
			(1, 3, '2024-04-01'), (4, 3, '2024-04-01'),
			(3, 1, '2024-05-01');
		SELECT setval('users_id_seq', 4)`)
	notices := moveWithNotices(t, db, config.Up, described)
	if said := strings.Join(notices, "\n"); !strings.Contains(said, "2 users have become one with another user of their namespace, and 5 of their stars") {
		t.Errorf("it said %q", said)
	}
	wantRows(t, db, "SELECT id || ' ' || namespace || ' ' || merged_into FROM archived_users ORDER BY id", "2 ada 1", "4 ada 1")
	wantRows(t, db, "SELECT user_id || ' ' || project_id || ' ' || star_date::date || ' ' || merged_into FROM archived_stars ORDER BY user_id, project_id",
		"1 1 2024-02-02 1", "2 1 2024-02-01 1", "2 2 2024-03-01 1", "4 1 2024-02-03 1", "4 3 2024-04-01 1")
	const stars = "SELECT user_id || ' ' || project_id || ' ' || star_date::date FROM stars ORDER BY user_id, project_id"
	wantRows(t, db, stars, "1 1 2024-02-01", "1 2 2024-03-01", "1 3 2024-04-01", "3 1 2024-05-01")
	if err := move(t, migrations.FS, db, config.Down, 9); err != nil {
		t.Fatal(err)
	}
	wantRows(t, db, "SELECT count(*)::text FROM archived_stars UNION ALL SELECT count(*)::text FROM archived_users", "5", "2")
	if notices := moveWithNotices(t, db, config.Up, described); slices.ContainsFunc(notices, func(n string) bool { return strings.Contains(n, "have become one") }) {
		t.Errorf("it said %q", notices)
	}
	wantRows(t, db, "SELECT count(*)::text FROM archived_stars UNION ALL SELECT count(*)::text FROM archived_users", "5", "2")
	wantRows(t, db, stars, "1 1 2024-02-01", "1 2 2024-03-01", "1 3 2024-04-01", "3 1 2024-05-01")
}

// The row numbers of 0.9 are kept where the list of a project's samples does not give the
// same order; the way back gives them back.
func TestRowNumbersThatTheListDoesNotSay(t *testing.T) {
	for name, test := range map[string]struct {
		alter string // of the samples 1 to 4 of project 1, which are a list in this order
		kept  bool
	}{
		"as linked":                     {"", false},
		"gaps":                          {"UPDATE samples SET row_number = 3 * row_number", false},
		"numbers of equal rows":         {"UPDATE samples SET row_number = 0", false}, // in the order of their ids
		"another order":                 {"UPDATE samples SET row_number = 9 - row_number WHERE project_id = 1", true},
		"added later":                   {"UPDATE samples SET row_number = 0 WHERE id = 4", true},
		"all first":                     {"UPDATE samples SET parent_guid = NULL WHERE project_id = 1", true},
		"second first":                  {"UPDATE samples SET parent_guid = NULL WHERE id = 3", true},
		"branch":                        {"UPDATE samples SET parent_guid = 'g2' WHERE id = 4", true},
		"cycle":                         {"UPDATE samples SET parent_guid = 'g4' WHERE id = 3", true},
		"cycle of one":                  {"UPDATE samples SET parent_guid = 'g4' WHERE id = 4", true},
		"cycle of all":                  {"UPDATE samples SET parent_guid = 'g4' WHERE id = 1", true},
		"parent of another":             {"UPDATE samples SET parent_guid = 'other' WHERE id = 3", true},
		"parent without a project":      {"UPDATE samples SET parent_guid = 'nobody' WHERE id = 1", true},
		"one that goes after they went": {"UPDATE samples SET row_number = 9 - row_number WHERE project_id = 1", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, "pepdbagent-0.9.0.sql")
			conn := connect(t, db)
			execute(t, conn, `
				INSERT INTO users (id, namespace, number_of_projects) VALUES (1, 'a', 2);
				INSERT INTO projects (id, namespace, name, tag, digest, config, private, number_of_samples, number_of_stars, submission_date, last_update_date)
				SELECT id, 'a', 'p' || id, 't', 'd', json_build_object('name', 'p' || id), false, 4, 0, '2024-07-02', '2024-07-02' FROM generate_series(1, 2) AS id;
				INSERT INTO samples (id, sample, project_id, row_number, guid, parent_guid, submission_date)
				SELECT i, '{}', 1, i - 1, 'g' || i, 'g' || nullif(i - 1, 0), '2024-07-02' FROM generate_series(1, 4) AS i;
				INSERT INTO samples (id, sample, project_id, row_number, guid, parent_guid, submission_date) VALUES
					(5, '{}', 2, 0, 'other', NULL, '2024-07-02'), (6, '{}', 2, 1, 'next', 'other', '2024-07-02'),
					(7, '{}', NULL, 3, 'nobody', NULL, '2024-07-02'), (8, '{}', NULL, 2, 'nobody else', NULL, '2024-07-02');
				SELECT setval('samples_id_seq', 8), setval('projects_id_seq', 2), setval('users_id_seq', 1);`+test.alter)
			const numbers = "SELECT id || ' ' || row_number FROM samples WHERE project_id = 1 ORDER BY id"
			const archived = "SELECT sample_id || ' ' || row_number FROM archived_sample_row_numbers WHERE project_id = 1 ORDER BY sample_id"
			before := query(t, conn, numbers)
			for range 2 {
				if err := move(t, migrations.FS, db, config.Up, 0); err != nil {
					t.Fatal(err)
				}
				backToDescribed(t, conn)
				exists := "f"
				if test.kept {
					exists = "t"
					wantRows(t, db, archived, before...)
					wantRows(t, db, "SELECT count(*)::text FROM archived_sample_row_numbers", "4")
				}
				wantRows(t, db, "SELECT to_regclass('archived_sample_row_numbers') IS NOT NULL", exists)
				if strings.HasPrefix(name, "one that goes") {
					execute(t, conn, "UPDATE samples SET parent_guid = NULL WHERE id = 2; DELETE FROM samples WHERE id = 1")
					if err := move(t, migrations.FS, db, config.Down, 10); err != nil {
						t.Fatal(err)
					}
					wantRows(t, db, numbers, before[1:]...)
					wantRows(t, db, archived, before[0])
					return
				}
				if err := move(t, migrations.FS, db, config.Down, 10); err != nil {
					t.Fatal(err)
				}
				wantRows(t, db, "SELECT to_regclass('archived_sample_row_numbers') IS NULL", "t")
				if test.kept {
					wantRows(t, db, numbers, before...)
				}
			}
		})
	}
	// Whatever the numbers were, step 10 has just linked the samples in their order.
	db := newDatabase(t, "pepdbagent-0.6.0.sql", "rows-0.6.sql")
	upgradeInProcess(t, db)
	wantRows(t, db, "SELECT to_regclass('archived_sample_row_numbers') IS NULL", "t")
}

// The key of a row that is neither its name nor its number is kept with its document.
func TestKeysOfRowsAreKept(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.4.2.sql")
	conn := connect(t, db)
	for i, test := range keyedTables() {
		execute(t, conn, fmt.Sprintf("INSERT INTO projects VALUES (%d, 'a', 'p%[1]d', 't', 'd', %s, false, 0, now(), now(), NULL)", i+1, literal(test.document)))
	}
	var want []string
	for i, test := range keyedTables() {
		if test.kept {
			want = append(want, fmt.Sprintf("%d true %s", i+1, test.document))
		}
	}
	if err := move(t, migrations.FS, db, config.Up, 7); err != nil {
		t.Fatal(err)
	}
	wantRows(t, db, "SELECT project_id || ' ' || row_number FROM samples WHERE row_number NOT IN (0, 1)")
	if err := move(t, migrations.FS, db, config.Up, 0); err != nil {
		t.Fatal(err)
	}
	backToDescribed(t, conn)
	wantRows(t, db, "SELECT project_id || ' ' || lossy || ' ' || project_value FROM archived_project_values ORDER BY project_id", want...)
}

// keyedTables are documents, and whether keys of rows would be lost.
func keyedTables() (tables []struct {
	document string
	kept     bool
}) {
	for samples, kept := range map[string]bool{
		`{"sample_name": {"-1": "a", "99999999999": "c"}}`:             true,
		`{"sample_name": {"x": "a", "y": "y"}}`:                        true,
		`{"sample_name": {"x": null}}`:                                 true,
		`{"sample_name": {"0": "a", "2": "c"}}`:                        true,
		`{"sample_name": {"00": "a", "1": "b"}}`:                       true,
		`{"v": {"01": 1, "1": 2}}`:                                     true,
		`{"sample_name": {"0": "a", "1": "b"}, "v": {"0": 1}}`:         false,
		`{"sample_name": {"1": "b", "0": "a"}}`:                        false,
		`{"sample_name": {"x": "x", "101": 101}}`:                      false,
		`{"sample_name": {"x": "x"}, "v": {"x": 1, "y": 2}}`:           false,
		`{"v": {"-1": 1, "99999999999": 2}}`:                           false, // the keys become names
		`{"sample_name": {"x\u0000": "x\u0000"}, "v": {"x\u0000": 1}}`: false,
		`[{"sample_name": "a"}]`:                                       false,
		`{}`:                                                           false,
	} {
		tables = append(tables, struct {
			document string
			kept     bool
		}{`{"_config": {}, "_sample_dict": ` + samples + `}`, kept})
		if samples != "{}" {
			tables = append(tables, struct {
				document string
				kept     bool
			}{`{"_config": {}, "_sample_dict": [], "_subsample_dict": [{"v": {"0": 1}}, ` + samples + `]}`, kept})
		}
	}
	slices.SortFunc(tables, func(a, b struct {
		document string
		kept     bool
	}) int {
		return strings.Compare(a.document, b.document)
	})
	return tables
}

// A schema that is younger than the project's last update is not the one that its text
// means.
func TestYoungerSchemaIsAnother(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.11.1.sql")
	conn := connect(t, db)
	execute(t, conn, `
		INSERT INTO users (id, namespace, number_of_projects) VALUES (1, 'a', 6);
		INSERT INTO schemas (id, namespace, name, schema_json, private, submission_date) VALUES (1, 'a', 's', '{}', false, '2024-05-05 12:00:00.5+00');
		INSERT INTO projects (id, namespace, name, tag, digest, config, private, number_of_samples, number_of_stars, submission_date, last_update_date, pep_schema, schema_id)
		SELECT id, 'a', 'p' || id, 't', 'd', json_build_object('name', 'p' || id), false, 0, 0, submitted::timestamptz, updated::timestamptz, 'a/s', schema_id
		FROM (VALUES
			(1, '2024-05-01', '2024-05-05 12:00:00.4+00', NULL), -- updated before the schema was made
			(2, '2024-05-01', '2024-05-05 12:00:00.5+00', NULL),
			(3, '2024-05-01', '2024-06-01', NULL),
			(4, '2024-05-01', NULL, NULL),
			(5, '2024-06-01', NULL, NULL),
			(6, '2024-05-01', '2024-05-01', 1)
		) AS v (id, submitted, updated, schema_id);
		SELECT setval('projects_id_seq', 6), setval('users_id_seq', 1), setval('schemas_id_seq', 1)`)
	before := readContent(t, conn)
	sameContent(t, before, upgradeInProcess(t, db))
	backToDescribed(t, conn)
	wantRows(t, db, "SELECT id || ' ' || coalesce(schema_id, 0) FROM projects ORDER BY id", "1 0", "2 1", "3 1", "4 0", "5 1", "6 1")
	wantRows(t, db, "SELECT count(*)::text FROM archived_project_pep_schemas WHERE pep_schema = 'a/s'", "6")
}

// lowered are names as people wrote them before 0.4, and what Python's str.lower() makes
// of them.
var lowered = map[string]string{
	"LAB": "lab", "INFECTION": "infection", "Ärzte": "ärzte", "İstanbul": "i̇stanbul", "IŞIK": "işik", "ΣΊΣΥΦΟΣ": "σίσυφος",
	"Σ": "σ", "ΑΣ.Β": "ασ.β", "ǅ": "ǆ", "ẞ": "ß", "𐐀": "𐐨", "Жук": "жук", "ı": "ı", "already": "already", "日本": "日本",
}

// Names become lower case as PEPhub looks them up, whatever the locale; and come back.
func TestNamesInAnyLocale(t *testing.T) {
	for name, options := range map[string]string{
		"Turkish": "ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR' LOCALE 'C.UTF-8'",
		"C":       "ENCODING 'UTF8' LOCALE 'C'",
		"libc":    "ENCODING 'UTF8' LOCALE 'C.UTF-8'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabaseWith(t, options, "pepdbagent-0.2.3.sql")
			conn := connect(t, db)
			want := map[string]string{}
			for upper, lower := range lowered {
				want[upper+"/"+upper] = lower + "/" + lower
				execute(t, conn, fmt.Sprintf(`
					INSERT INTO projects (namespace, name, tag, digest, project_value, anno_info)
					VALUES (%[1]s, %[1]s, 'T', 'd', json_build_object('name', %[1]s::text, '_config', json_build_object('name', %[1]s::text))::jsonb, NULL)`, literal(upper)))
			}
			before := query(t, conn, "SELECT id || ' ' || namespace || '/' || name FROM projects ORDER BY id")
			for range 2 {
				if err := move(t, migrations.FS, db, config.Up, described); err != nil {
					t.Fatal(err)
				}
				var lower []string
				for _, line := range before {
					id, path, _ := strings.Cut(line, " ")
					lower = append(lower, id+" "+want[path])
				}
				wantRows(t, db, "SELECT id || ' ' || namespace || '/' || name FROM projects ORDER BY id", lower...)
				wantRows(t, db, "SELECT to_regclass('archived_project_values') IS NULL", "t") // in no other case than the config's
				if err := run(t, migrations.FS, db, config.Config{Action: config.Down, Target: 2, AllowDataLoss: true}); err != nil {
					t.Fatal(err)
				}
				wantRows(t, db, "SELECT id || ' ' || namespace || '/' || name FROM projects ORDER BY id", before...)
				wantRows(t, db, "SELECT to_regclass('archived_project_names') IS NULL", "t")
			}
		})
	}
}

// Where the server cannot tell what a name is in lower case, it is named; one of ASCII is
// no matter.
func TestNamesThatNobodyKnowsInLowerCase(t *testing.T) {
	insert := func(t *testing.T, conn *pgx.Conn, names ...string) {
		t.Helper()
		for _, name := range names {
			execute(t, conn, fmt.Sprintf("INSERT INTO projects (namespace, name, tag, digest, project_value, anno_info) VALUES ('Lab', %s, 'T', 'd', '{}', NULL)", literal(name)))
		}
	}
	wantUnknown := func(t *testing.T, db string, names ...string) {
		t.Helper()
		err := move(t, migrations.FS, db, config.Up, 0)
		if err == nil || !strings.Contains(err.Error(), "cannot tell what these are in lower case: "+strings.Join(names, "; ")) {
			t.Errorf("got %v", err)
		}
	}
	t.Run("SQL_ASCII", func(t *testing.T) {
		db := newDatabaseWith(t, encodings["SQL_ASCII"], "pepdbagent-0.2.3.sql")
		conn := connect(t, db)
		insert(t, conn, "INFECTION", "Ärzte", "b\u00e9")
		wantUnknown(t, db, "Lab/Ärzte:T", "Lab/bé:T")
		execute(t, conn, "DELETE FROM projects WHERE name <> 'INFECTION'")
		upgradeInProcess(t, db)
		wantRows(t, db, "SELECT namespace || '/' || name FROM projects", "lab/infection")
	})
	t.Run("LATIN5", func(t *testing.T) { // has the letter, but not what Python makes of it
		db := newDatabaseWith(t, "ENCODING 'LATIN5' LOCALE 'C'", "pepdbagent-0.2.3.sql")
		conn := connect(t, db)
		execute(t, conn, "SET client_encoding = 'UTF8'")
		insert(t, conn, "IŞIK", "İs")
		wantUnknown(t, db, "Lab/")
		execute(t, conn, "DELETE FROM projects WHERE name <> 'IŞIK'")
		upgradeInProcess(t, db)
		wantRows(t, db, "SET client_encoding = 'UTF8'; SELECT namespace || '/' || name FROM projects", "lab/işik")
	})
	t.Run("no ICU", func(t *testing.T) {
		db := newDatabase(t, "pepdbagent-0.2.3.sql")
		conn := connect(t, db)
		execute(t, conn, `DROP COLLATION pg_catalog."und-x-icu"`)
		insert(t, conn, "INFECTION", "ΣΊΣΥΦΟΣ")
		if postgresVersion() < "18" {
			wantUnknown(t, db, "Lab/ΣΊΣΥΦΟΣ:T")
			return
		}
		upgradeInProcess(t, db)
		wantRows(t, db, "SELECT name FROM projects ORDER BY id", "infection", "σίσυφος")
	})
}

// A name that was archived in another lower case, or whose project has another by now,
// does not come back, and stays archived.
func TestNamesThatDoNotComeBackAreKept(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.3.0.sql")
	conn := connect(t, db)
	execute(t, conn, `
		INSERT INTO projects (id, namespace, name, tag, digest, project_value, private, number_of_samples, submission_date, last_update_date)
		SELECT id, 'Lab', 'P' || id, 't', 'd', '{}', false, 0, now(), now() FROM generate_series(1, 3) AS id`)
	if err := move(t, migrations.FS, db, config.Up, 3); err != nil {
		t.Fatal(err)
	}
	execute(t, conn, "UPDATE projects SET name = 'renamed' WHERE id = 2; DELETE FROM projects WHERE id = 3")
	if err := move(t, migrations.FS, db, config.Down, 2); err != nil {
		t.Fatal(err)
	}
	wantRows(t, db, "SELECT id || ' ' || namespace || ' ' || name FROM projects ORDER BY id", "1 Lab P1", "2 lab renamed")
	wantRows(t, db, "SELECT project_id || ' ' || name FROM archived_project_names ORDER BY project_id", "2 P2", "3 P3")
}

// Where a publication has all tables, no row can be changed in one without a key: neither
// in an archive nor in a helper.
func TestPublicationOfAllTables(t *testing.T) {
	for release, files := range map[string][]string{
		"0.2.3":  {"rows-0.2.sql"},
		"0.4.2":  {"rows-0.4.2.sql"},
		"0.6.0":  {"rows-0.6.sql"},
		"0.8.0":  nil,
		"0.9.0":  nil,
		"0.11.1": v0111[1:],
	} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, append([]string{"pepdbagent-" + release + ".sql"}, files...)...)
			conn := connect(t, db)
			step := slices.Index(releases, release) + 1
			switch release {
			case "0.8.0":
				execute(t, conn, generate(step, 21, step)+`
					INSERT INTO users (namespace) SELECT namespace FROM users;
					INSERT INTO stars SELECT u.id, s.project_id, s.star_date - interval '1 day'
					FROM stars AS s JOIN users AS o ON o.id = s.user_id JOIN users AS u ON u.namespace = o.namespace AND u.id > o.id
					ON CONFLICT DO NOTHING`)
			case "0.9.0":
				execute(t, conn, generate(step, 21, step))
			}
			execute(t, conn, "CREATE PUBLICATION everything FOR ALL TABLES")
			for range 2 {
				if err := move(t, migrations.FS, db, config.Up, 0); err != nil {
					t.Fatal(err)
				}
				if err := run(t, migrations.FS, db, config.Config{Action: config.Down, Target: step, AllowDataLoss: true}); err != nil {
					t.Fatal(err)
				}
			}
			wantRows(t, db, `
				SELECT relname FROM pg_class
				WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND (relname LIKE 'pephub\_migrate\_%' OR relpersistence <> 'p' OR NOT EXISTS (
					SELECT FROM pg_index AS i WHERE i.indrelid = pg_class.oid AND i.indisprimary
				)) AND relname NOT IN ('projects', 'archived_nothing')`)
		})
	}
}

// Every archive has a key from the moment on that it is made, and the way back needs none
// in an archive of an earlier build.
func TestArchivesWithoutKeys(t *testing.T) {
	archives := 0
	for _, release := range []string{"0.2.3", "0.8.0", "0.9.0", "0.11.1"} {
		step := slices.Index(releases, release) + 1
		db := newDatabaseNamed(t, release, "pepdbagent-"+release+".sql")
		conn := connect(t, db)
		switch release {
		case "0.2.3":
			execute(t, conn, readFile(t, "testdata/rows-0.2.sql"))
		case "0.11.1":
			for _, file := range v0111[1:] {
				execute(t, conn, readFile(t, "testdata/"+file))
			}
		default:
			execute(t, conn, generate(step, 21, step))
		}
		upgradeInProcess(t, db)
		for _, row := range rows(t, conn, `
			SELECT c.oid::regclass, quote_ident(k.conname)
			FROM pg_class AS c
			LEFT JOIN pg_constraint AS k ON k.conrelid = c.oid AND k.contype = 'p'
			WHERE c.relkind = 'r' AND c.relname LIKE 'archived%'`) {
			if row[1] == null {
				t.Errorf("%s has no key", row[0])
				continue
			}
			archives++
			execute(t, conn, "ALTER TABLE "+row[0]+" DROP CONSTRAINT "+row[1])
		}
		if err := run(t, migrations.FS, db, config.Config{Action: config.Down, Target: step, AllowDataLoss: true}); err != nil {
			t.Error(err)
		}
	}
	if archives < 8 {
		t.Errorf("only %d archives were made", archives)
	}
}

// Rows of an operator's own tables that inherit from PEPhub's are none of a step's
// business.
func TestStepsReadNoChildren(t *testing.T) {
	var tables []string
	for _, step := range loadSteps(t) {
		tables = append(tables, step.Shape.Names("table")...)
	}
	comments := regexp.MustCompile(`(?m)(^|\s)--.*$`)
	reads := regexp.MustCompile(`\b(?:FROM|JOIN|UPDATE|USING|TRUNCATE)\s+(?:` + strings.Join(tables, "|") + `)\b(?:\s|,|;|\))`)
	only := regexp.MustCompile(`\b(?:FROM|JOIN|UPDATE|USING|TRUNCATE)\s+ONLY\s`)
	files, err := filepath.Glob("../migrations/0*.sql")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sql := comments.ReplaceAllString(string(content), "")
		for _, statement := range reads.FindAllString(sql, -1) {
			t.Errorf("%s: %q reads or writes rows of tables that inherit too: say ONLY", filepath.Base(file), statement)
		}
		found += len(only.FindAllString(sql, -1))
	}
	if found < 100 {
		t.Errorf("only %d statements say ONLY", found)
	}
}

// Step 10 leaves foreign keys of others alone: who has not set them aside learns it
// before a row is touched.
func TestStep10LeavesForeignKeysOfOthersAlone(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.8.0.sql")
	conn := connect(t, db)
	execute(t, conn, "CREATE TABLE notes (sample_id integer REFERENCES samples)")
	_, err := conn.PgConn().Exec(context.Background(), readFile(t, "../migrations/000010_link_samples.up.sql")).ReadAll()
	if err == nil || !strings.Contains(err.Error(), "cannot drop constraint samples_pkey") && !strings.Contains(err.Error(), "cannot truncate") {
		t.Errorf("got %v", err)
	}
}
