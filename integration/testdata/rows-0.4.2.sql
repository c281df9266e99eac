-- Rows for pepdbagent 0.4.2: samples in columns, as json, which keeps their order.

INSERT INTO projects
    (id, namespace, name, tag, digest, project_value, private, number_of_samples, submission_date, last_update_date, pep_schema)
VALUES
    (1, 'ada', 'ordered', 'default', '0cc175b9c0f1b6a831c399e269772661',
     '{"name": "ordered", "description": "d\u00e9j\u00e0 \u0000 vu", "_config": {"zeta": 1, "name": "other", "alpha": 1.0},
       "_sample_dict": {"sample_name": {"zebra": "zebra", "ant": "ant"}, "b": {"ant": -0.0, "late": 1, "zebra": 12345678901234567890123}, "a": {"zebra": "x\u0000\\u0041"}},
       "_subsample_dict": [{"sample_name": {"0": "zebra", "1": "ant"}}]}',
     true, 3, '2023-06-27 00:00:00.5+00', '2023-06-28 00:00:00+00', 'pep/2.1.0'),
    (2, 'ada', 'indexed', 'v1', '92eb5ffee6ae2fec3ad71c777531578f',
     '{"name": "indexed", "_config": {"sample_table_index": "my_id", "description": "in config"}, "_sample_dict": {"v": {"s1": 1, "s0": 2}}, "_subsample_dict": null}',
     false, 2, '2023-06-27 00:00:00+00', '2023-06-27 00:00:00+00', NULL);
SELECT setval('projects_id_seq', 2);
