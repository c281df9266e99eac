-- Projects of a hundred samples each, as pepdbagent 0.1 and 0.2 keep them: in a document, by columns.
INSERT INTO projects (namespace, name, tag, digest, project_value, anno_info)
SELECT
    'namespace' || p % 100, 'project' || p, 'default', md5(p::text),
    jsonb_build_object(
        'name', 'project' || p, 'description', 'of the benchmark', '_config', jsonb_build_object('pep_version', '2.0.0', 'name', 'project' || p),
        '_sample_dict', d.columns, '_subsample_dict', NULL
    ),
    jsonb_build_object('n_samples', 100, 'last_update', '2022-11-01 12:34:56', 'description', 'of the benchmark')
FROM generate_series(1, {{projects}}) AS p
CROSS JOIN LATERAL (
    SELECT jsonb_build_object(
        'sample_name', jsonb_object_agg(s, 'sample' || s),
        'protocol', jsonb_object_agg(s, 'RNA-seq'),
        'organism', jsonb_object_agg(s, 'Homo sapiens'),
        'time', jsonb_object_agg(s, s % 7),
        'file', jsonb_object_agg(s, format('data/%s/%s/%s.fastq.gz', p, s, md5(format('%s/%s', p, s))))
    ) AS columns
    FROM generate_series(0, 99) AS s
    WHERE p > 0
) AS d;
VACUUM ANALYZE;
