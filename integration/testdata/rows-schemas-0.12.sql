-- Schemas as pepdbagent 0.12 keeps them: more versions than one, tags, and what else 0.11 has no place for.

INSERT INTO schema_records (id, namespace, name, maintainers, lifecycle_stage, description, private, last_update_date) VALUES
    (1, 'ada', 'pep', 'ada, émile', 'stable', 'base', false, '2024-01-05 00:00:00.123456+00'),
    (4, 'only-schemas', 'lonely', '', '', NULL, true, '2024-01-03 00:00:00+00');
INSERT INTO schema_versions
    (id, schema_id, version, schema_value, release_date, last_update_date, contributors, release_notes)
VALUES
    (1, 1, '2.1.0', '{"z": 1.0, "a": "\u0000"}', '2024-01-01 00:00:00+00', '2024-01-01 00:00:00+00', 'émile', 'first'),
    (2, 1, '10.0.0', '{}', '2024-01-02 00:00:00+00', '2024-01-02 00:00:00+00', '', ''),
    (9, 4, '1.0.0', '{}', '2024-01-03 00:00:00+00', '2024-01-03 00:00:00+00', NULL, NULL);
INSERT INTO schema_tags (id, tag_name, tag_value, schema_version_id) VALUES
    (1, 'maturity', 'high', 2),
    (2, 'maturity', NULL, 9);
SELECT setval('schema_records_id_seq', 4), setval('schema_versions_id_seq', 9), setval('schema_tags_id_seq', 2);

UPDATE projects SET schema_id = 2 WHERE id IN (1, 3);
UPDATE projects SET schema_id = 9 WHERE id = 2;
