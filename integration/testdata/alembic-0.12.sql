-- What Alembic's revision 8a037f13b4e5 sends after the three new tables, in the same
-- transaction: see starts.txt.
DROP INDEX ix_schemas_description;
DROP INDEX ix_schemas_id;
DROP INDEX ix_schemas_name;
ALTER TABLE projects DROP CONSTRAINT projects_schema_id_fkey;
DROP TABLE schemas CASCADE;
DROP INDEX ix_schema_groups_id;
DROP INDEX ix_schema_groups_name;
DROP INDEX ix_schema_groups_namespace;
DROP TABLE schema_groups CASCADE;
DROP INDEX ix_schema_group_relations_group_id;
DROP INDEX ix_schema_group_relations_schema_id;
DROP TABLE schema_group_relations;
UPDATE projects SET schema_id = NULL;
ALTER TABLE projects ADD FOREIGN KEY (schema_id) REFERENCES schema_versions (id) ON DELETE SET NULL;
ALTER TABLE projects DROP COLUMN pep_schema;
ALTER TABLE users ADD COLUMN number_of_schemas integer;
UPDATE alembic_version SET version_num = '8a037f13b4e5' WHERE alembic_version.version_num = '44cb1e7a80de';
