-- New tables belong to the owner of the old ones, if that is one role that the login role
-- can act as: an application that is no superuser could not read what a superuser has
-- made.
SELECT set_config('role', pg_get_userbyid(o.owner)::text, true)
FROM (
    SELECT max(c.relowner) AS owner
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = current_setting('pephub_migrate.schema')
        AND c.relname = ANY ('{{tables}}'::name[] || '{schema_migrations,alembic_version}'::name[])
    HAVING max(c.relowner) = min(c.relowner)
) AS o
WHERE pg_get_userbyid(o.owner) <> current_user AND pg_has_role(session_user, o.owner, 'MEMBER');
