-- Rows for pepdbagent 0.4.3: samples as records.

INSERT INTO projects
    (id, namespace, name, tag, digest, description, project_value, private, number_of_samples, submission_date, last_update_date, pep_schema)
VALUES
    (3, 'ada', 'records', 'default', '0cc175b9c0f1b6a831c399e269772661', 'of the column',
     '{"_sample_dict": [{"b": 1.0, "a": "\u0000", "sample_name": "x"}, {"sample_name": "x", "twice": 1, "twice": 2}, {}], "_config": {"name": "Records", "description": "of the config"},
       "_subsample_list": [[{"sample_name": "x", "f": 1e-07}], [], [{"f": null}, {"f": "é"}]]}',
     false, 3, '2023-06-30 00:00:00+00', '2023-07-01 00:00:00+00', NULL),
    (4, 'ada', 'bare', 'default', '92eb5ffee6ae2fec3ad71c777531578f', NULL,
     '{"_sample_dict": [], "_config": {}, "_subsample_list": null}',
     false, 0, '2023-06-30 00:00:00+00', '2023-06-30 00:00:00+00', NULL);
SELECT setval('projects_id_seq', 4);
