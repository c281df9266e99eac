-- Each sample of a document in a row.
CREATE TABLE floor_samples AS
SELECT
    (row_number() OVER (ORDER BY p.id, s.ordinality))::integer AS id, s.value AS sample, p.id::integer AS project_id,
    (s.ordinality - 1)::integer AS row_number
FROM projects AS p
CROSS JOIN LATERAL json_array_elements(p.project_value -> '_sample_dict') WITH ORDINALITY AS s;
CREATE TABLE floor_projects AS
SELECT
    id::integer AS id, namespace, name, tag, digest, description, private, number_of_samples, submission_date, last_update_date, pep_schema,
    project_value -> '_config' AS config
FROM projects;
ALTER TABLE floor_projects
    ALTER COLUMN id SET NOT NULL, ALTER COLUMN namespace SET NOT NULL, ALTER COLUMN name SET NOT NULL, ALTER COLUMN tag SET NOT NULL,
    ALTER COLUMN digest SET NOT NULL, ALTER COLUMN private SET NOT NULL, ALTER COLUMN number_of_samples SET NOT NULL,
    ALTER COLUMN submission_date SET NOT NULL, ALTER COLUMN config SET NOT NULL,
    ADD PRIMARY KEY (id), ADD UNIQUE (namespace, name, tag);
ALTER TABLE floor_samples
    ALTER COLUMN sample SET NOT NULL, ALTER COLUMN row_number SET NOT NULL, ADD PRIMARY KEY (id),
    ADD FOREIGN KEY (project_id) REFERENCES floor_projects (id) ON DELETE CASCADE;
