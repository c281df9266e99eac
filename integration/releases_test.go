package integration

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pephub-migrate/internal/config"
	"pephub-migrate/migrations"
)

// Releases before 0.5 keep a project, its samples and its subsamples in one document.
func TestUpgradeFromDocuments(t *testing.T) {
	for name, test := range map[string]struct {
		files                                            []string
		from                                             string
		projects, configs, samples, subsamples, archives []string
	}{
		"0.2.3": {
			files: []string{"pepdbagent-0.2.3.sql", "rows-0.2.sql"},
			from:  "step 1 (pepdbagent 0.1.0 - 0.2.3)",
			projects: []string{
				`(1,ada,basic,Default,"of 0.2",t,4,2022-11-01,)`,
				`(2,ada,named,default,"only here",f,2,2022-09-28,)`,
				`(4,geo,none,default,,f,0,today,)`,
			},
			configs: []string{
				`1 {"name": "basic", "pep_version": "2.0.0", "description": "of 0.2"}`,
				`2 {"name": "named", "description": "only here"}`,
				`4 {"name": "none", "description": null}`,
			},
			// jsonb has lost the order of the rows for ever, but for the length of their
			// keys.
			samples: []string{
				`1 1 b {"x": 1.0, "sample_name": "b"}`,
				`1 2 a {"x": null, "sample_name": "a"}`,
				`1 3 c {"x": [1, {"z": 1}], "sample_name": "c"}`,
				`1 4 k {"sample_name": "k"}`,
				`2 1 pig {"sample_name": "pig", "value": 2}`,
				`2 2 frog {"sample_name": "frog", "value": 1}`,
			},
			subsamples: []string{
				`1 0 0 {"file": "one", "sample_name": "b"}`,
				`1 0 1 {"file": "two", "sample_name": "b"}`,
				`1 1 0 {"file": "three"}`,
			},
			archives: []string{
				"archived_project_anno_info 3", "archived_project_config_names 1",
				"archived_project_names 1", "archived_project_values 2", // of one, a row has the key 10, which nothing else says
			},
		},
		"0.4.2": {
			files:    []string{"pepdbagent-0.4.2.sql", "rows-0.4.2.sql"},
			from:     "step 5 (pepdbagent 0.4.2)",
			projects: []string{"(1,ada,ordered,default,\"déjà  vu\",t,3,2023-06-27,)", "(2,ada,indexed,v1,,f,2,2023-06-27,)"},
			configs: []string{
				`1 {"zeta": 1, "name": "ordered", "alpha": 1.0, "description": "d\u00e9j\u00e0 \u0000 vu"}`,
				`2 {"sample_table_index": "my_id", "description": "in config", "name": "indexed"}`,
			},
			samples: []string{
				`1 1 zebra {"sample_name": "zebra", "b": 12345678901234567890123, "a": "x\u0000\\u0041"}`,
				`1 2 ant {"sample_name": "ant", "b": -0.0}`,
				`1 3 late {"sample_name": "late", "b": 1}`,
				`2 1 s1 {"my_id": "s1", "v": 1}`,
				`2 2 s0 {"my_id": "s0", "v": 2}`,
			},
			subsamples: []string{`1 0 0 {"sample_name": "zebra"}`, `1 0 1 {"sample_name": "ant"}`},
			archives:   []string{"archived_project_config_names 1", "archived_project_pep_schemas 1"},
		},
		"0.4.3": {
			files:    []string{"pepdbagent-0.4.3.sql", "rows-0.4.3.sql"},
			from:     "step 6 (pepdbagent 0.4.3)",
			projects: []string{`(3,ada,records,default,"of the column",f,3,2023-06-30,)`, "(4,ada,bare,default,,f,0,2023-06-30,)"},
			configs:  []string{`3 {"name": "records", "description": "of the config"}`, `4 {"name": "bare", "description": ""}`},
			samples: []string{
				`3 1 x {"b": 1.0, "a": "\u0000", "sample_name": "x"}`,
				`3 2 x {"sample_name": "x", "twice": 1, "twice": 2}`,
				`3 3 NULL {}`,
			},
			subsamples: []string{`3 0 0 {"sample_name": "x", "f": 1e-07}`, `3 2 0 {"f": null}`, `3 2 1 {"f": "é"}`},
			archives:   []string{"archived_project_config_names 1", "archived_project_values 1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, test.files...)
			migrate(t, environment(db)).want(t, 0, "from "+test.from+" to step "+newest)
			wantNewest(t, db)
			backToDescribed(t, connect(t, db))
			wantRows(t, db, `SELECT (id, namespace, name, tag, description, private, number_of_samples,
				CASE WHEN submission_date > now() - interval '1 hour' THEN 'today'
					ELSE (submission_date AT TIME ZONE 'UTC')::date::text END, forked_from_id)::text
				FROM projects ORDER BY id`, test.projects...)
			wantRows(t, db, "SELECT id || ' ' || config::text FROM projects ORDER BY id", test.configs...)
			wantRows(t, db, `
				WITH RECURSIVE chain AS (
					SELECT samples.*, 1 AS position FROM samples WHERE parent_guid IS NULL
					UNION ALL
					SELECT s.*, c.position + 1 FROM samples AS s JOIN chain AS c ON s.parent_guid = c.guid
				)
				SELECT project_id || ' ' || position || ' ' || coalesce(sample_name, 'NULL') || ' ' || sample::text
				FROM chain ORDER BY project_id, position`, test.samples...)
			wantRows(t, db, `SELECT project_id || ' ' || subsample_number || ' ' || row_number || ' ' || subsample::text
				FROM subsamples ORDER BY ctid`, test.subsamples...)
			wantRows(t, db, `
				SELECT relname || ' ' || substring(query_to_xml('SELECT count(*) AS n FROM ' || relname, true, true, '')::text from '<n>(.*)</n>')
				FROM pg_class WHERE relname LIKE 'archived%' AND relkind = 'r' ORDER BY relname`, test.archives...)
		})
	}
}

// A table without a column of names has them as the keys of its rows, even where they
// look like numbers; and a wide one takes no longer than a narrow one with as many cells.
func TestKeysOfRows(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.4.2.sql")
	execute(t, connect(t, db), `
		INSERT INTO projects SELECT id, 'a', 'p' || id, 't', 'd', document::json, false, 1, now(), now(), NULL
		FROM (VALUES
			(1, '{"_config": {"sample_table_index": ""}, "_sample_dict": {"x": {"101": "a", "7": "b"}}}'),
			(2, '{"_config": {}, "_sample_dict": {"x": {"0": "a", "2": "c"}, "y": {"0": 1, "1": 2, "2": 3}}}'),
			(3, '{"_config": {}, "_sample_dict": {}, "_subsample_list": [], "_subsample_dict": [{"x": {"0": 1}}]}'),
			(5, '{"_config": {}, "_subsample_list": [[{"x": 1}]], "_subsample_dict": [{"x": {"0": 2}}]}')
		) AS v (id, document);
		INSERT INTO projects
		SELECT 4, 'a', 'wide', 't', 'd', json_build_object('_config', '{}'::json, '_sample_dict', json_object_agg('c' || c, col)), false, 1, now(), now(), NULL
		FROM (
			SELECT c, json_object_agg('name' || r, 'v' || r) AS col
			FROM generate_series(1, 30) AS c, generate_series(1, 2000) AS r
			GROUP BY c
		) AS x`)
	migrate(t, environment(db, "LOCK_TIMEOUT", "5s")).want(t, 0)
	backToDescribed(t, connect(t, db))
	wantRows(t, db, "SELECT project_id || ' ' || sample_name || ' ' || sample::text FROM samples WHERE project_id = 1 ORDER BY id",
		`1 101 {"sample_name": "101", "x": "a"}`, `1 7 {"sample_name": "7", "x": "b"}`)
	wantRows(t, db, "SELECT sample::text FROM samples WHERE project_id = 2 ORDER BY id",
		`{"x": "a", "y": 1}`, `{"y": 2}`, `{"x": "c", "y": 3}`)
	wantRows(t, db, "SELECT project_id || ' ' || subsample::text FROM subsamples", `3 {"x": 1}`, `5 {"x": 1}`)
	wantRows(t, db, "SELECT project_id || ' ' || lossy FROM archived_project_values", "5 true") // of two lists one is used
	wantRows(t, db, "SELECT count(*) || ' ' || count(DISTINCT sample_name) FROM samples WHERE project_id = 4", "2000 2000")
}

// A document gets its members back on the way back, but for the name of a project that
// was renamed since.
func TestNameOfDocumentThereAndBack(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.4.2.sql")
	conn := connect(t, db)
	execute(t, conn, `
		INSERT INTO projects
		SELECT id, 'a', 'p' || id, 't', 'd', '{"name": "own", "_config": {"name": "cfg"}, "_sample_dict": {}, "more": 1}', false, 0, now(), now(), NULL
		FROM generate_series(1, 2) AS id;
		SELECT setval('projects_id_seq', 2)`)
	if err := move(t, migrations.FS, db, config.Up, described); err != nil {
		t.Fatal(err)
	}
	execute(t, conn, `UPDATE projects SET name = 'renamed', config = '{"name": "renamed", "description": ""}' WHERE id = 2`)
	if err := move(t, migrations.FS, db, config.Down, 6); err != nil {
		t.Fatal(err)
	}
	wantRows(t, db, "SELECT project_value::text FROM projects ORDER BY id",
		`{"_sample_dict": [], "_config": {"name": "cfg", "description": ""}, "_subsample_list": null, "name": "own", "more": 1}`,
		`{"_sample_dict": [], "_config": {"name": "renamed", "description": ""}, "_subsample_list": null, "more": 1}`)
	wantRows(t, db, "SELECT project_id || ' ' || name FROM archived_project_config_names", `2 "cfg"`)
}

// The tables that the containers' SQL made, and those of the first releases that made
// them themselves.
func TestUpgradeOfEmptyOldTables(t *testing.T) {
	for release, step := range map[string]string{"0.2.3": "1", "0.3.0": "2", "0.4.0-init": "3", "0.4.1": "4", "0.4.2": "5", "0.4.3": "6"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, "pepdbagent-"+release+".sql")
			migrate(t, environment(db)).want(t, 0, "from step "+step+" (pepdbagent")
			wantNewest(t, db)
		})
	}
}

// 0.3 and the tables of 0.4's container have dates without a zone.
func TestUpgradeReadsDatesInTheSessionsZone(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.3.0.sql")
	conn := connect(t, db)
	execute(t, conn, "ALTER DATABASE "+pgx.Identifier{db}.Sanitize()+` SET timezone = 'Asia/Tokyo';
		INSERT INTO projects (namespace, name, tag, digest, project_value, private, number_of_samples, submission_date, last_update_date)
		VALUES ('a', 'b', 'c', 'd', '{}', false, 0, '2023-01-01 09:00', '2023-01-02 09:00')`)
	migrate(t, environment(db)).want(t, 0)
	backToDescribed(t, conn)
	wantRows(t, db, `SELECT (submission_date AT TIME ZONE 'UTC')::text || ' ' || (last_update_date AT TIME ZONE 'UTC') FROM projects`,
		"2023-01-01 00:00:00 2023-01-02 00:00:00")
}

// From 0.4 on names are looked up in lower case: two that differ in nothing else cannot
// both be kept.
func TestNamesThatCollide(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.2.3.sql", "rows-0.2.sql")
	execute(t, connect(t, db), "INSERT INTO projects VALUES (9, 'ADA', 'named', 'default', 'd', '{}', NULL)")
	before := dump(t, db)
	migrate(t, environment(db)).want(t, 7, "ada/named:default and ADA/named:default")
	wantUnchanged(t, db, before)
}

// What 0.5 takes apart, the way back puts together, and the way up takes apart alike.
func TestDocumentThereAndBack(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.4.3.sql", "rows-0.4.3.sql")
	conn := connect(t, db)
	const documents = "SELECT id || ' ' || regexp_replace(project_value::text, '\\s+', ' ', 'g') FROM projects ORDER BY id"
	before := query(t, conn, documents)
	for range 2 {
		if err := move(t, migrations.FS, db, config.Up, 0); err != nil {
			t.Fatal(err)
		}
		if err := move(t, migrations.FS, db, config.Down, 6); err != nil {
			t.Fatal(err)
		}
	}
	before[1] = strings.Replace(before[1], `"_config": {}`, `"_config": {"name": "bare", "description": ""}`, 1)
	wantRows(t, db, documents, before...)
	if err := move(t, migrations.FS, db, config.Down, 5); err != nil {
		t.Fatal(err)
	}
	if err := move(t, migrations.FS, db, config.Up, 6); err != nil {
		t.Fatal(err)
	}
	wantRows(t, db, "SELECT id || ' ' || coalesce(description, 'NULL') FROM projects ORDER BY id", "3 of the column", "4 NULL")
}

func TestUpgradeFrom06(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.6.0.sql", "rows-0.6.sql")
	conn := connect(t, db)
	before := readContent(t, conn)

	migrate(t, environment(db)).want(t, 0, "from step 7 (pepdbagent 0.5.0 - 0.6.0) to step "+newest)

	wantNewest(t, db)
	sameContent(t, before, readContent(t, conn))
	backToDescribed(t, conn)
	wantRows(t, db, "SELECT id || ' ' || config::text FROM projects WHERE id IN (2, 5, 6, 7) ORDER BY id",
		`2 {"big": 12345678901234567890123, "name": "renamed", "nul": "\u0000 \\u0041 \ud800", "n": 1e-07}`,
		`5 {"sample_table_index": "my_id", "description": "é\u00e9", "name": "nameless"}`,
		`6 {"name": "empty"}`,
		`7 {"name": "null-name", "twice": 1, "twice": 2}`)
	wantRows(t, db, "SELECT number_of_samples::text FROM projects WHERE id = 1", "4")
	wantRows(t, db, "SELECT id || ' ' || coalesce(sample_name, 'NULL') FROM samples WHERE id < 1000 ORDER BY id",
		"1 one", "2 zero", "3 last", "4 one", "10 null", "20 this", "21 17", "22 NULL", "30 orphan")
	wantRows(t, db, "SELECT project_id || ' ' || name FROM archived_project_config_names ORDER BY project_id",
		`2 "Old \u0000 Näme"`, "7 null")
	wantRows(t, db, "SELECT namespace || ' ' || number_of_projects FROM users ORDER BY namespace COLLATE \"C\"",
		"Upper 1", "ada 2", "geo 1", "émile 2")
	wantRows(t, db, "SELECT count(*)::text FROM samples WHERE guid !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'", "0")
}

func TestUpgradeFrom07And08(t *testing.T) {
	for _, test := range []struct{ release, from, stars, date string }{
		{"0.7.0", "step 8 (pepdbagent 0.7.0)", `
			INSERT INTO stars (user_id, project_id) VALUES (2, 1), (3, 1), (4, 1), (4, 9), (7, 9), (9, 5)`,
			"2023-07-01 00:00:00.123456"},
		{"0.8.0", "step 9 (pepdbagent 0.7.1 - 0.8.0)", `
			INSERT INTO stars (user_id, project_id, star_date) VALUES
				(2, 1, '2024-02-03'), (3, 1, '2024-02-02'), (4, 1, '2024-02-01'), (4, 9, '2024-02-04'),
				(7, 9, '2024-02-05'), (9, 5, '2024-02-06')`,
			"2024-02-01 00:00:00"},
	} {
		t.Run(test.release, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, "pepdbagent-"+test.release+".sql")
			conn := connect(t, db)
			execute(t, conn, "ALTER TABLE projects ALTER COLUMN number_of_stars SET DEFAULT 0")
			execute(t, conn, readFile(t, "testdata/rows-0.6.sql")+readFile(t, "testdata/rows-0.7.sql")+test.stars)
			execute(t, conn, "ALTER TABLE projects ALTER COLUMN number_of_stars DROP DEFAULT; UPDATE samples SET sample_name = 'n' || id")
			before := readContent(t, conn)

			migrate(t, environment(db)).want(t, 0, "from "+test.from+" to step "+newest)

			wantNewest(t, db)
			sameContent(t, before, readContent(t, conn))
			backToDescribed(t, conn)
			wantRows(t, db, "SELECT id || ' ' || namespace FROM users WHERE id < 10 ORDER BY id", "2 ada", "3 starrer", "9 nobody")
			wantRows(t, db, `SELECT user_id || ' ' || project_id FROM stars ORDER BY project_id, user_id`, "2 1", "3 1", "9 5", "3 9")
			wantRows(t, db, `SELECT (star_date AT TIME ZONE 'UTC')::text FROM stars WHERE user_id = 3 AND project_id = 1`, test.date)
			wantRows(t, db, "SELECT id || ' ' || number_of_stars FROM projects WHERE number_of_stars > 0 ORDER BY id", "1 2", "5 1", "9 1")
		})
	}
}

func TestUpgradeFrom09And010(t *testing.T) {
	for _, test := range []struct {
		release, from string
		rows          []string
	}{
		// 0.9 keeps a row number that it no longer reads: the list is the order.
		{"0.9.0", "step 10 (pepdbagent 0.9.0)", []string{"rows-common.sql"}},
		{"0.10.0", "step 11 (pepdbagent 0.10.0)", []string{"rows-common.sql", "rows-history.sql"}},
	} {
		t.Run(test.release, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, "pepdbagent-"+test.release+".sql")
			conn := connect(t, db)
			if test.release == "0.9.0" {
				execute(t, conn, "ALTER TABLE samples ALTER COLUMN row_number SET DEFAULT 0")
			}
			for _, file := range test.rows {
				execute(t, conn, readFile(t, "testdata/"+file))
			}
			if test.release == "0.9.0" {
				execute(t, conn, "UPDATE samples SET row_number = -id; ALTER TABLE samples ALTER COLUMN row_number DROP DEFAULT")
			}
			before := readContent(t, conn)
			migrate(t, environment(db)).want(t, 0, "from "+test.from+" to step "+newest)
			wantNewest(t, db)
			sameContent(t, before, readContent(t, conn))
		})
	}
}

// What an archive says of a document decides whether the way back can do without it.
func TestArchiveSaysWhatIsLossy(t *testing.T) {
	db := newDatabase(t, "pepdbagent-0.4.3.sql")
	conn := connect(t, db)
	execute(t, conn, `
		INSERT INTO projects (namespace, name, tag, digest, project_value, private, number_of_samples, submission_date, last_update_date)
		SELECT 'a', 'p' || ordinality, 't', 'd', value, false, 0, now(), now()
		FROM json_array_elements('[
			{},
			{"_config": {}, "_sample_dict": [], "own": 1},
			{"_config": {}, "_sample_dict": [], "_subsample_list": [[{"sample_name": "x"}]], "own": 2},
			{"_config": {}, "_sample_dict": {"a": {}}},
			{"_config": {}, "_sample_dict": { "a" : { "0": 1 } }}
		]') WITH ORDINALITY`)
	upgradeInProcess(t, db)
	backToDescribed(t, conn)
	wantRows(t, db, "SELECT project_name || ' ' || coalesce(lossy::text, 'unknown') FROM archived_project_values ORDER BY 1",
		"p1 true", "p2 false", "p3 false", "p4 true")
}
