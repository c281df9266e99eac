-- Schemas and their groups as pepdbagent 0.11 keeps them.

INSERT INTO schemas (id, namespace, name, description, schema_json, private, submission_date, last_update_date) VALUES
    (1, 'ada', 'pep-2.1.0', 'base', '{"version": "2.1.0", "properties": {"z": 1, "a": 1.0}, "twice": 1, "twice": 2}', false,
     '2024-01-01 00:00:00+00', '2024-01-05 00:00:00.123456+00'),
    (3, 'ada', 'odd name: v1?', NULL, '{"nul": "\u0000", "big": 12345678901234567890123}', false, '2024-01-02 00:00:00+00', NULL),
    (7, 'only-schemas', 'lonely', '', '[]', true, '2024-01-03 00:00:00+00', '2024-01-03 00:00:00+00'),
    (8, 'émile', 'schéma', 'in two groups', '{}', false, '2024-01-04 00:00:00+00', '2024-01-04 00:00:00+00');
SELECT setval('schemas_id_seq', 11);

INSERT INTO schema_groups (id, namespace, name, description) VALUES
    (1, 'ada', 'group one', 'the ü group'),
    (2, 'only-schemas', 'group one', NULL),
    (5, 'ada', 'empty', 'no members');
INSERT INTO schema_group_relations (schema_id, group_id) VALUES (1, 1), (8, 1), (8, 2);
SELECT setval('schema_groups_id_seq', 5);

-- Linked; linked with the text; a fork with the text only; a text that names no schema; a text from before schemas.
UPDATE projects SET schema_id = 7 WHERE id = 2;
UPDATE projects SET schema_id = 1, pep_schema = 'ada/pep-2.1.0' WHERE id = 1;
UPDATE projects SET pep_schema = 'ada/pep-2.1.0' WHERE id = 3;
UPDATE projects SET pep_schema = 'nobody/nothing' WHERE id = 9;
UPDATE projects SET pep_schema = 'pep/2.1.0' WHERE id = 12;
