-- The name of each sample in a column.
CREATE TABLE floor_samples AS
SELECT id, sample, project_id, row_number, (sample ->> 'sample_name')::varchar AS sample_name
FROM samples;
ALTER TABLE floor_samples
    ALTER COLUMN sample SET NOT NULL, ALTER COLUMN row_number SET NOT NULL, ADD PRIMARY KEY (id),
    ADD FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE;
