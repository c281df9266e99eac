-- Rows for pepdbagent 0.5 and 0.6: numbered samples, and configs whose name is not always the project's.

INSERT INTO projects
    (id, namespace, name, tag, digest, description, config, private, number_of_samples, submission_date, last_update_date, pep_schema)
VALUES
    (1, 'ada', 'basic', 'default', '0cc175b9c0f1b6a831c399e269772661', 'shuffled on disk',
     '{"pep_version": "2.1.0", "name": "basic", "zeta": 1.0, "alpha": -0.0}', false, 3,
     '2023-07-01 00:00:00.123456+00', '2023-07-02 00:00:00+00', 'pep/2.1.0'),
    (2, 'ada', 'renamed', 'default', '92eb5ffee6ae2fec3ad71c777531578f', NULL,
     '{"big": 12345678901234567890123, "name": "Old \u0000 Näme", "nul": "\u0000 \\u0041 \ud800", "n": 1e-07}', true, 1,
     '2023-07-03 00:00:00+00', NULL, NULL),
    (5, 'émile', 'nameless', 'v1', '4a8a08f09d37b73795649038408b5f33', '',
     '{"sample_table_index": "my_id", "description": "é\u00e9"}', false, 3,
     '2023-07-04 00:00:00+00', '2023-07-04 00:00:00+00', ''),
    (6, 'émile', 'empty', 'default', '8277e0910d750195b448797616e091ad', NULL, '{}', false, 0,
     '2023-07-05 00:00:00+00', '2023-07-05 00:00:00+00', NULL),
    (7, 'Upper', 'null-name', 'default', 'e1671797c52e15f763380b45e841ec32', NULL,
     '{"name": null, "twice": 1, "twice": 2}', false, 0, '2023-07-06 00:00:00+00', NULL, NULL),
    (9, 'geo', 'gse1', 'default', 'c4ca4238a0b923820dcc509a6f75849b', 'many', '{"name": "gse1"}', false, 2000,
     '2023-07-07 00:00:00+00', '2023-07-07 00:00:00+00', NULL);
SELECT setval('projects_id_seq', 12);

-- Two rows with the number 1, a gap, and an order on disk that is neither.
INSERT INTO samples (id, sample, project_id, row_number) VALUES
    (3, '{"sample_name": "last", "a": [1, [2, null]]}', 1, 7),
    (1, '{"sample_name": "one", "b": 1, "a": 2}', 1, 1),
    (4, '{"sample_name": "one", "text": "na\u00efve \u0000 ☃"}', 1, 1),
    (2, '{"sample_name": "zero"}', 1, 0),
    (10, '{"sample_name": "nul\u0000l", "id": 9007199254740993}', 2, 0),
    (20, '{"sample_name": "not this", "my_id": "this"}', 5, 0),
    (21, '{"my_id": 17}', 5, 1),
    (22, '{"sample_name": "absent"}', 5, 2),
    (30, '{"sample_name": "orphan"}', NULL, 0);
INSERT INTO samples (id, sample, project_id, row_number)
SELECT 1000 + n, format('{"sample_name": "GSM%s", "n": %s}', n, n)::json, 9, 2000 - n
FROM generate_series(1, 2000) AS n;
SELECT setval('samples_id_seq', 4000);

INSERT INTO subsamples (id, subsample, project_id, subsample_number, row_number) VALUES
    (3, '{"sample_name": "one", "file": "a"}', 1, 0, 0),
    (1, '{"sample_name": "one", "file": "b"}', 1, 0, 1),
    (2, '{"sample_name": "zero", "file": "\u0000"}', 1, 1, 0);
SELECT setval('subsamples_id_seq', 3);
