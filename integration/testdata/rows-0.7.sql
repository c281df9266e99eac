-- Rows for pepdbagent 0.7 and 0.8 on top of those for 0.6: nothing kept users.namespace unique.

UPDATE projects SET forked_from_id = 1, pop = true, number_of_stars = 2 WHERE id = 5;
UPDATE projects SET forked_from_id = 5 WHERE id = 9;
INSERT INTO users (id, namespace) VALUES (2, 'ada'), (3, 'starrer'), (4, 'starrer'), (7, 'starrer'), (9, 'nobody');
SELECT setval('users_id_seq', 9);
INSERT INTO views (id, name, project_id, description) VALUES (1, 'v', 1, 'first'), (2, 'v', 1, NULL), (4, 'empty', 9, '');
INSERT INTO views_samples (sample_id, view_id) VALUES (3, 1), (4, 1), (1, 2);
SELECT setval('views_id_seq', 4);
