-- Indexes on the foreign keys.
CREATE INDEX floor_samples_project_id ON samples (project_id);
CREATE INDEX floor_samples_parent_guid ON samples (parent_guid);
CREATE INDEX floor_projects_forked_from_id ON projects (forked_from_id);
CREATE INDEX floor_projects_schema_id ON projects (schema_id);
