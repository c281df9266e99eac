-- Release: pepdbagent 0.9.0: the samples of a project are a linked list, and every namespace has one user.
-- Data: samples keep their order as a list; users of one namespace become one, with all their stars; missing ones are added.
-- Undo: numbers the samples in the order of their list.

LOCK TABLE projects, users, samples, stars, views_samples IN ACCESS EXCLUSIVE MODE;

-- Nothing kept users.namespace unique before. The oldest stays; of two stars on one project the earlier counts.
CREATE TABLE pephub_migrate_users AS
SELECT id, kept FROM (SELECT id, min(id) OVER (PARTITION BY namespace) AS kept FROM users) AS u WHERE id <> kept;

-- What an operator's own foreign key does when a user or a star goes, nobody can ask here.
DO $$
DECLARE
    referencing text;
BEGIN
    SELECT string_agg(DISTINCT conrelid::regclass::text, ', ') INTO referencing
    FROM pg_constraint
    WHERE contype = 'f'
        AND confrelid IN ('users'::regclass, 'stars'::regclass)
        AND conrelid <> 'stars'::regclass
        AND EXISTS (SELECT FROM pephub_migrate_users);
    IF referencing IS NOT NULL THEN
        RAISE EXCEPTION 'several users of one namespace are to become one, and % refers to users or their stars', referencing
            USING HINT = 'drop the foreign key, run again, and make it anew';
    END IF;
END
$$;

UPDATE stars AS s
SET user_id = m.kept, star_date = m.star_date
FROM (
    SELECT
        user_id, project_id, kept,
        min(star_date) OVER (PARTITION BY kept, project_id) AS star_date,
        row_number() OVER (PARTITION BY kept, project_id ORDER BY user_id) AS position
    FROM (
        SELECT x.user_id, x.project_id, x.star_date, coalesce(u.kept, x.user_id) AS kept
        FROM stars AS x
        LEFT JOIN pephub_migrate_users AS u ON u.id = x.user_id
        WHERE x.user_id IN (SELECT id FROM pephub_migrate_users UNION ALL SELECT kept FROM pephub_migrate_users)
    ) AS k
) AS m
WHERE (m.user_id, m.project_id) = (s.user_id, s.project_id)
    AND m.position = 1
    AND (m.kept, m.star_date) <> (s.user_id, s.star_date);
DELETE FROM stars WHERE user_id IN (SELECT id FROM pephub_migrate_users);
DELETE FROM users WHERE id IN (SELECT id FROM pephub_migrate_users);
DROP TABLE pephub_migrate_users;

-- The ids are not taken from the sequence: what is taken stays taken when the transaction rolls back, and the sequence may
-- be behind. RESTART is undone like everything else.
DO $$
DECLARE
    last bigint := (
        SELECT greatest((SELECT max(id) FROM users), CASE WHEN is_called THEN last_value ELSE last_value - 1 END)
        FROM users_id_seq
    );
    added bigint;
BEGIN
    INSERT INTO users (id, namespace)
    SELECT last + row_number() OVER (ORDER BY n.namespace), n.namespace
    FROM (SELECT namespace FROM projects EXCEPT SELECT namespace FROM users) AS n;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF added > 0 THEN
        EXECUTE format('ALTER SEQUENCE users_id_seq RESTART WITH %s', last + added + 1);
    END IF;
END
$$;

ALTER TABLE users ADD COLUMN number_of_projects integer NOT NULL DEFAULT 0;
ALTER TABLE users ALTER COLUMN number_of_projects DROP DEFAULT;
UPDATE users AS u
SET number_of_projects = p.projects
FROM (SELECT namespace, count(*) AS projects FROM projects GROUP BY namespace) AS p
WHERE p.namespace = u.namespace;
ALTER TABLE users ADD CONSTRAINT users_namespace_key UNIQUE (namespace);
ALTER TABLE projects
    ADD CONSTRAINT projects_namespace_fkey FOREIGN KEY (namespace) REFERENCES users (namespace) ON DELETE CASCADE;

UPDATE projects AS p
SET number_of_stars = c.stars
FROM (
    SELECT p.id, count(s.user_id) AS stars
    FROM projects AS p
    LEFT JOIN stars AS s ON s.project_id = p.id
    GROUP BY p.id
) AS c
WHERE c.id = p.id AND c.stars <> p.number_of_stars;

-- pepdbagent 0.7 and 0.8 showed one only of several samples with the same row number. All of them are kept, and counted.
UPDATE projects AS p
SET number_of_samples = c.samples
FROM (
    SELECT project_id, count(*) AS samples
    FROM samples
    GROUP BY project_id
    HAVING count(*) > count(DISTINCT row_number)
) AS c
WHERE c.project_id = p.id AND c.samples <> p.number_of_samples;

SET LOCAL application_name = 'pephub-migrate: linking samples';
-- The table is filled anew, once: an UPDATE of every row would leave a dead one behind each, and write the indexes twice.
-- The table itself stays, with all that an operator has attached to it.
CREATE UNLOGGED TABLE pephub_migrate_samples AS
SELECT
    s.id, s.sample, s.project_id, s.row_number, s.sample_name, s.guid,
    coalesce(p.submission_date, now()) AS submission_date,
    coalesce(p.last_update_date, p.submission_date, now()) AS last_update_date,
    CASE WHEN s.project_id IS NOT NULL THEN -- one without a project is a list of its own
        lag(s.guid) OVER (PARTITION BY s.project_id ORDER BY s.row_number, s.id)
    END AS parent_guid
FROM (SELECT id, sample, project_id, row_number, sample_name, gen_random_uuid()::text AS guid FROM samples) AS s
LEFT JOIN projects AS p ON p.id = s.project_id;

DO $$
BEGIN
    IF (SELECT count(*) FROM pephub_migrate_samples) <> (SELECT count(*) FROM samples) THEN
        RAISE EXCEPTION 'samples went missing';
    END IF;
END
$$;

-- TRUNCATE takes no table that a foreign key leads to, and row by row a foreign key takes longer to check than at once, so
-- all of them, the operator's own included, step aside and come back. So does the primary key, for the same reason, unless
-- somebody has made more of it or of its index.
CREATE TABLE pephub_migrate_constraints AS
SELECT
    k.conrelid::regclass::text AS relation, quote_ident(k.conname) AS name, k.contype, pg_get_constraintdef(k.oid) AS definition,
    obj_description(k.oid, 'pg_constraint') AS comment
FROM pg_constraint AS k
WHERE k.contype = 'f' AND 'samples'::regclass IN (k.conrelid, k.confrelid) AND k.conparentid = 0 -- a partition's goes with its parent's
    OR k.contype = 'p' AND k.conrelid = 'samples'::regclass AND NOT EXISTS (
        SELECT
        FROM pg_depend AS d -- a view that groups by the key, say
        WHERE d.refclassid = 'pg_constraint'::regclass AND d.refobjid = k.oid AND d.deptype = 'n'
    ) AND EXISTS (
        SELECT
        FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE i.indexrelid = k.conindid
            AND NOT i.indisclustered
            AND NOT i.indisreplident
            AND c.reltablespace = 0
            AND c.reloptions IS NULL
            AND obj_description(c.oid, 'pg_class') IS NULL
    );

DO $$
DECLARE
    k record;
BEGIN
    FOR k IN SELECT * FROM pephub_migrate_constraints ORDER BY contype LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %s', k.relation, k.name);
    END LOOP;
END
$$;

TRUNCATE samples;
ALTER TABLE samples
    ADD COLUMN guid varchar NOT NULL,
    ADD COLUMN submission_date timestamptz NOT NULL,
    ADD COLUMN last_update_date timestamptz,
    ADD COLUMN parent_guid varchar;

SET LOCAL application_name = 'pephub-migrate: writing samples';
INSERT INTO samples
    (id, sample, project_id, row_number, sample_name, guid, submission_date, last_update_date, parent_guid)
SELECT id, sample, project_id, row_number, sample_name, guid, submission_date, last_update_date, parent_guid
FROM pephub_migrate_samples;
-- What a transaction drops keeps its place on disk until the commit, but for what it has made itself and truncates.
TRUNCATE pephub_migrate_samples;
DROP TABLE pephub_migrate_samples;

SET LOCAL application_name = 'pephub-migrate: indexing samples and checking foreign keys';
ALTER TABLE samples ADD CONSTRAINT samples_guid_key UNIQUE (guid);
ALTER TABLE samples
    ADD CONSTRAINT samples_parent_guid_fkey FOREIGN KEY (parent_guid) REFERENCES samples (guid) ON DELETE CASCADE;
DO $$
DECLARE
    k record;
BEGIN
    FOR k IN SELECT * FROM pephub_migrate_constraints ORDER BY contype DESC LOOP
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %s %s', k.relation, k.name, k.definition);
        EXECUTE format('COMMENT ON CONSTRAINT %s ON %s IS %L', k.name, k.relation, k.comment);
    END LOOP;
END
$$;
DROP TABLE pephub_migrate_constraints;

-- A second first sample would be invisible. That no sample has two behind it follows from how they were linked, since no guid
-- comes twice.
DO $$
DECLARE
    broken bigint;
BEGIN
    SELECT count(*) INTO broken
    FROM (
        SELECT project_id
        FROM samples
        WHERE project_id IS NOT NULL
        GROUP BY project_id
        HAVING count(*) - count(parent_guid) <> 1
    ) AS b;
    IF broken > 0 THEN
        RAISE EXCEPTION 'the samples of % projects are not one list', broken;
    END IF;
END
$$;
