-- Rows for the tables that came with pepdbagent 0.11.1.

INSERT INTO namespace_archives (id, namespace, file_path, creation_date, number_of_projects, file_size) VALUES
    (1, 'geo', 'geo/2024_01.tar', '2024-01-02 03:04:05.678901+00', 3, 2147483647);
INSERT INTO bedbase_stats (id, gse, gsm, sample_name, genome, last_update_date, submission_date) VALUES
    (1, 'GSE1', 'GSM1', 'ü', 'hg38', '2024-01-01', NULL),
    (2, 'GSE2', 'GSM2', NULL, '', NULL, '');
SELECT setval('namespace_archives_id_seq', 1), setval('bedbase_stats_id_seq', 2);
