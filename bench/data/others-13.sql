-- A million samples have a history, and as many rows are in the statistics of BEDbase.
INSERT INTO bedbase_stats (gse, gsm, sample_name, genome)
SELECT 'GSE' || i / 10, 'GSM' || i, 'sample ' || i, CASE i % 3 WHEN 0 THEN 'hg38' WHEN 1 THEN 'mm10.p2' END
FROM generate_series(1, {{projects}} * 100) AS i;
INSERT INTO project_history (project_id, "user", update_time, project_yaml)
SELECT id, namespace, now(), config FROM projects;
INSERT INTO sample_history (history_id, guid, parent_guid, sample_json, change_type)
SELECT h.id, s.guid, s.parent_guid, s.sample, 'UPDATE'
FROM samples AS s
JOIN project_history AS h ON h.project_id = s.project_id;
VACUUM ANALYZE
