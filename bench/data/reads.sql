-- What pepdbagent 0.12.3 sends, with the values of one project in the middle.
-- reading a project, with all its samples and subsamples
SELECT id, namespace, name, tag, digest, description, config, private, number_of_samples, number_of_stars, submission_date, last_update_date, schema_id, pop, forked_from_id FROM projects WHERE namespace = '{{namespace}}' AND name = '{{name}}' AND tag = 'default';
SELECT id, sample, project_id, sample_name, guid, submission_date, last_update_date, parent_guid FROM samples WHERE project_id = {{id}};
SELECT id, subsample, subsample_number, row_number, project_id FROM subsamples WHERE project_id = {{id}};
-- deleting a project
BEGIN; DELETE FROM projects WHERE namespace = '{{namespace}}' AND name = '{{name}}' AND tag = 'default'; ROLLBACK;
-- listing a namespace
SELECT count(*) FROM projects WHERE namespace = '{{namespace}}' AND (private IS false OR namespace IN ('{{namespace}}'));
SELECT id, namespace, name, tag, digest, description, config, private, number_of_samples, number_of_stars, submission_date, last_update_date, schema_id, pop, forked_from_id FROM projects WHERE namespace = '{{namespace}}' AND (private IS false OR namespace IN ('{{namespace}}')) ORDER BY last_update_date DESC LIMIT 100 OFFSET 0;
-- opening a view of ten samples
SELECT id, name, description, project_id FROM views WHERE EXISTS (SELECT 1 FROM projects WHERE projects.id = views.project_id AND projects.namespace = '{{namespace}}' AND projects.name = '{{name}}' AND projects.tag = 'default') AND name = 'view';
SELECT sample_id, view_id FROM views_samples WHERE view_id = (SELECT id FROM views WHERE project_id = {{id}});
SELECT id, sample, project_id, sample_name, guid, submission_date, last_update_date, parent_guid FROM samples WHERE id IN (SELECT sample_id FROM views_samples WHERE view_id = (SELECT id FROM views WHERE project_id = {{id}}));
SELECT id, namespace, name, tag, config FROM projects WHERE id = {{id}};
-- following a sample's list to its next
SELECT id, sample, guid, parent_guid FROM samples WHERE parent_guid = '{{guid}}';
