-- Documents as text rather than in binary form.
CREATE TABLE floor_projects AS
SELECT id, namespace, name, tag, digest, project_value::json AS project_value, private, number_of_samples, submission_date, last_update_date, pep_schema
FROM projects;
ALTER TABLE floor_projects
    ALTER COLUMN id SET NOT NULL, ALTER COLUMN namespace SET NOT NULL, ALTER COLUMN name SET NOT NULL, ALTER COLUMN tag SET NOT NULL,
    ALTER COLUMN digest SET NOT NULL, ALTER COLUMN project_value SET NOT NULL, ALTER COLUMN private SET NOT NULL,
    ALTER COLUMN number_of_samples SET NOT NULL, ALTER COLUMN submission_date SET NOT NULL, ALTER COLUMN last_update_date SET NOT NULL,
    ADD PRIMARY KEY (namespace, name, tag);
