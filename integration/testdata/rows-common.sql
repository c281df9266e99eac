-- Rows for the tables that pepdbagent 0.9 and newer share, odd ones on purpose. History, schemas and archives are in
-- files of their own.

INSERT INTO users (id, namespace, number_of_projects) VALUES
    (1, 'ada', 4),
    (2, 'émile', 1),
    (3, 'geo', 2),
    (4, 'only-stars', 0),
    (5, 'only-schemas', 0),
    (6, 'CamelCase', 1);

INSERT INTO projects
    (id, namespace, name, tag, digest, description, config, private, number_of_samples, number_of_stars,
     submission_date, last_update_date, pop, forked_from_id)
VALUES
    (1, 'ada', 'basic', 'default', '0cc175b9c0f1b6a831c399e269772661', 'three samples, shuffled on disk',
     '{"pep_version": "2.1.0", "zeta": 1, "alpha": {"b": 1.0, "a": -0.0}, "name": "basic"}', false, 3, 2,
     '2024-01-02 03:04:05.678901+00', '2024-02-03 04:05:06.789012+00', false, NULL),
    (2, 'ada', 'basic', 'v2', '92eb5ffee6ae2fec3ad71c777531578f', NULL,
     '{"name": "basic", "big": 12345678901234567890123, "nul": "a\u0000b", "twice": 1, "twice": 2}', true, 1, 0,
     '2024-01-02 03:04:05+00', NULL, NULL, NULL),
    (3, 'émile', 'fork', 'default', '4a8a08f09d37b73795649038408b5f33', 'a fork',
     '{"name": "fork"}', false, 3, 1,
     '2024-03-01 00:00:00+02', '2024-03-01 00:00:00+02', false, 1),
    (4, 'CamelCase', 'fork-of-fork', 'default', '8277e0910d750195b448797616e091ad', '',
     '{"name": "fork-of-fork"}', false, 0, 0, '2024-03-02 00:00:00+00', NULL, true, 3),
    (7, 'ada', 'subtables', 'default', 'e1671797c52e15f763380b45e841ec32', 'two subsample tables',
     '{"name": "subtables", "subsample_table": ["one.csv", "two.csv"]}', false, 2, 0,
     '2024-03-03 00:00:00+00', '2024-03-03 00:00:00+00', false, NULL),
    (8, 'ada', 'empty', 'default', '8fa14cdd754f91cc6554c9e71929cce7', 'no samples', '{}', false, 0, 0,
     '2024-03-04 00:00:00+00', '2024-03-04 00:00:00+00', false, NULL),
    (9, 'geo', 'gse1', 'default', 'c4ca4238a0b923820dcc509a6f75849b', 'many samples', '{"name": "gse1"}', false, 3000, 1,
     '2024-03-05 00:00:00+00', '2024-03-05 00:00:00+00', true, NULL),
    (12, 'geo', 'gse2', 'default', 'c81e728d9d4c2f636f067f89cc14862c', 'quotes '' " \ and tab	', '{"name": "gse2"}', false, 1, 0,
     '2024-03-06 00:00:00+00', '2024-03-06 00:00:00+00', true, NULL);
SELECT setval('projects_id_seq', 20);
SELECT setval('users_id_seq', 6);

-- The order on disk is not the order of the list.
INSERT INTO samples (id, sample, project_id, sample_name, guid, submission_date, last_update_date, parent_guid) VALUES
    (11, '{"sample_name": "first", "z": 1, "a": [1, [2, null]]}', 1, 'first', 'b-first', '2024-01-02 03:04:05+00', NULL, NULL),
    (12, '{"sample_name": "second", "value": 1e-07}', 1, 'second', 'c-second', '2024-01-02 03:04:05+00', '2024-01-03 00:00:00+00', 'b-first'),
    (10, '{"sample_name": "third", "text": "naïve \u0000 ☃"}', 1, 'third', 'a-third', '2024-01-02 03:04:05+00', NULL, 'c-second'),
    (20, '{"id": 9007199254740993}', 2, NULL, 'd-unnamed', '2024-01-02 03:04:05+00', NULL, NULL),
    (30, '{"sample_name": "first"}', 3, 'first', 'e-1', '2024-03-01 00:00:00+00', NULL, NULL),
    (31, '{"sample_name": "first"}', 3, 'first', 'e-2', '2024-03-01 00:00:00+00', NULL, 'e-1'),
    (32, '{"sample_name": ""}', 3, '', 'e-3', '2024-03-01 00:00:00+00', NULL, 'e-2'),
    (40, '{"sample_name": "frog_1"}', 7, 'frog_1', 'f-1', '2024-03-03 00:00:00+00', NULL, NULL),
    (41, '{"sample_name": "frog_2"}', 7, 'frog_2', 'f-2', '2024-03-03 00:00:00+00', NULL, 'f-1'),
    (50, '{"sample_name": "one"}', 12, 'one', 'g-1', '2024-03-06 00:00:00+00', NULL, NULL);

INSERT INTO samples (id, sample, project_id, sample_name, guid, submission_date, last_update_date, parent_guid)
SELECT
    1000 + n,
    format('{"sample_name": "GSM%s", "n": %s}', n, n)::json,
    9,
    'GSM' || n,
    'gse1-' || n,
    '2024-03-05 00:00:00+00',
    NULL,
    CASE WHEN n > 1 THEN 'gse1-' || (n - 1) END
FROM generate_series(1, 3000) AS n;
SELECT setval('samples_id_seq', 5000);

-- pepdbagent reads subsamples in the order on disk.
INSERT INTO subsamples (id, subsample, project_id, subsample_number, row_number) VALUES
    (3, '{"sample_name": "frog_1", "file": "a"}', 7, 0, 0),
    (1, '{"sample_name": "frog_1", "file": "b"}', 7, 0, 1),
    (2, '{"sample_name": "frog_2", "file": null}', 7, 1, 0);
SELECT setval('subsamples_id_seq', 3);

INSERT INTO stars (user_id, project_id, star_date) VALUES
    (4, 1, '2024-04-01 00:00:00+00'),
    (4, 9, '2024-04-02 00:00:00+00'),
    (2, 1, '2024-04-03 00:00:00+00'),
    (1, 3, '2024-04-04 00:00:00+00');

-- Two views of one name are allowed.
INSERT INTO views (id, name, project_id, description) VALUES
    (1, 'pair', 1, 'the outer two'),
    (2, 'pair', 1, NULL),
    (5, 'none', 9, '');
INSERT INTO views_samples (sample_id, view_id) VALUES (11, 1), (10, 1), (12, 2);
SELECT setval('views_id_seq', 5);
