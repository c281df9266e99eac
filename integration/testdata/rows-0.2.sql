-- Rows for pepdbagent 0.1 and 0.2: samples in columns, what describes a project in anno_info, upper case.

INSERT INTO projects (id, namespace, name, tag, digest, project_value, anno_info) VALUES
    (1, 'Ada', 'Basic', 'Default', '0cc175b9c0f1b6a831c399e269772661',
     '{"name": "Basic", "description": "of 0.2", "_config": {"pep_version": "2.0.0", "name": "BASIC"},
       "_sample_dict": {"sample_name": {"0": "b", "1": "a", "10": "k", "2": "c"}, "x": {"0": 1.0, "1": null, "2": [1, {"z": 1}]}},
       "_subsample_dict": [{"sample_name": {"0": "b", "1": "b"}, "file": {"0": "one", "1": "two"}}, {"file": {"0": "three"}}]}',
     '{"status": "public", "description": "in anno_info", "last_update": "2022-11-01 12:34:56.789", "number_of_samples": 4, "is_private": true}'),
    (2, 'ada', 'named', 'default', '92eb5ffee6ae2fec3ad71c777531578f',
     '{"name": "named", "_config": {}, "_sample_dict": {"value": {"frog": 1, "pig": 2}}, "_subsample_dict": null, "extra": [1]}',
     '{"n_samples": 2, "last_update": "2022-09-28 01:02:03", "description": "only here", "own": "key"}'),
    (4, 'geo', 'none', 'default', '4a8a08f09d37b73795649038408b5f33', '{"name": "none", "description": null, "_config": {"name": "none"}, "_sample_dict": {}}', NULL);
SELECT setval('projects_id_seq', 6);
