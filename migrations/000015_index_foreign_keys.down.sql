-- Release: back to pepdbagent 0.12.0 - 0.12.3 as it makes its tables itself.
-- Data: stays as it is.
-- Undo: builds the indexes again.

DROP INDEX
    projects_forked_from_id_idx,
    projects_schema_id_idx,
    samples_project_id_idx,
    samples_parent_guid_idx,
    subsamples_project_id_idx,
    stars_project_id_idx,
    views_project_id_idx,
    views_samples_view_id_idx,
    project_history_project_id_idx,
    project_history_user_idx,
    sample_history_history_id_idx,
    namespace_archives_namespace_idx,
    schema_tags_schema_version_id_idx;
