-- Rows for the history that came with pepdbagent 0.10, with all three kinds of changes.

INSERT INTO project_history (id, project_id, "user", update_time, project_yaml) VALUES
    (1, 1, 'ada', '2024-02-01 00:00:00+00', '{"name": "basic", "description": "before"}'),
    (4, 1, 'émile', '2024-02-02 00:00:00+00', '{"b": 1, "a": 2}');
INSERT INTO sample_history (id, history_id, guid, parent_guid, sample_json, change_type) VALUES
    (1, 1, 'b-first', NULL, '{"sample_name": "old"}', 'UPDATE'),
    (2, 1, 'x-gone', 'b-first', '{"sample_name": "gone", "n": 1.0}', 'DELETE'),
    (3, 4, 'a-third', 'c-second', '{}', 'INSERT');
SELECT setval('project_history_id_seq', 4), setval('sample_history_id_seq', 3);
