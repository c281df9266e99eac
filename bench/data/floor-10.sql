-- Samples as linked lists.
CREATE TABLE floor_samples AS
SELECT
    s.id, s.sample, s.project_id, s.row_number, s.sample_name, s.guid::varchar AS guid,
    lag(s.guid) OVER (PARTITION BY s.project_id ORDER BY s.row_number, s.id)::varchar AS parent_guid, p.submission_date, p.last_update_date
FROM (SELECT *, gen_random_uuid()::text AS guid FROM samples OFFSET 0) AS s
JOIN projects AS p ON p.id = s.project_id;
ALTER TABLE floor_samples
    ALTER COLUMN sample SET NOT NULL, ALTER COLUMN row_number SET NOT NULL, ALTER COLUMN guid SET NOT NULL,
    ALTER COLUMN submission_date SET NOT NULL, ADD PRIMARY KEY (id), ADD UNIQUE (guid);
ALTER TABLE floor_samples
    ADD FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE,
    ADD FOREIGN KEY (parent_guid) REFERENCES floor_samples (guid) ON DELETE CASCADE;
