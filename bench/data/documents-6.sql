-- Projects of a hundred samples each, as pepdbagent 0.4.3 keeps them: in a document, row by row.
INSERT INTO projects
    (namespace, name, tag, digest, description, private, number_of_samples, submission_date, last_update_date, project_value)
SELECT
    'namespace' || p % 100, 'project' || p, 'default', md5(p::text), 'of the benchmark', false, 100, now(), now(),
    json_build_object(
        'name', 'project' || p, 'description', 'of the benchmark', '_config', json_build_object('pep_version', '2.0.0', 'name', 'project' || p),
        '_sample_dict', d.rows, '_subsample_list', NULL
    )
FROM generate_series(1, {{projects}}) AS p
CROSS JOIN LATERAL (
    SELECT json_agg(json_build_object(
        'sample_name', 'sample' || s, 'protocol', 'RNA-seq', 'organism', 'Homo sapiens', 'time', s % 7,
        'file', format('data/%s/%s/%s.fastq.gz', p, s, md5(format('%s/%s', p, s)))
    ) ORDER BY s) AS rows
    FROM generate_series(0, 99) AS s
    WHERE p > 0
) AS d;
VACUUM ANALYZE;
