-- Projects of a hundred samples each, as pepdbagent 0.5 and 0.6 keep them: a row for each.
INSERT INTO projects (namespace, name, tag, digest, description, private, number_of_samples, submission_date, last_update_date, config)
SELECT
    'namespace' || p % 100, 'project' || p, 'default', md5(p::text), 'of the benchmark', false, 100, now(), now(),
    json_build_object('pep_version', '2.1.0', 'name', 'project' || p, 'description', 'of the benchmark')
FROM generate_series(1, {{projects}}) AS p;
INSERT INTO samples (sample, project_id, row_number)
SELECT
    json_build_object(
        'sample_name', 'sample' || s, 'protocol', 'RNA-seq', 'organism', 'Homo sapiens', 'time', s % 7,
        'file', format('data/%s/%s/%s.fastq.gz', p, s, md5(format('%s/%s', p, s)))
    ), p, s
FROM generate_series(1, {{projects}}) AS p
CROSS JOIN generate_series(0, 99) AS s;
VACUUM ANALYZE;
