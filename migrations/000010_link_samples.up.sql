-- Release: pepdbagent 0.9.0: the samples of a project are a linked list, and every namespace has one user.
-- Data: samples keep their order as a list; users of one namespace become one, with all their stars, and what they were goes to archived_users and archived_stars; missing ones are added.
-- Undo: numbers the samples in the order of their list; users that became one stay one, and both archives stay.

LOCK TABLE projects, users, samples, stars, views_samples IN ACCESS EXCLUSIVE MODE;

-- Nothing kept users.namespace unique before. The oldest stays; of two stars on one project the earlier counts.
CREATE UNLOGGED TABLE pephub_migrate_users AS
SELECT id, namespace, kept
FROM (SELECT id, namespace, min(id) OVER (PARTITION BY namespace) AS kept FROM ONLY users) AS u
WHERE id <> kept;

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

-- Each star that becomes another one, with what it becomes.
CREATE UNLOGGED TABLE pephub_migrate_stars AS
SELECT m.user_id, m.project_id, m.old_date, m.kept, m.star_date, m.position = 1 AS stays
FROM (
    SELECT
        user_id, project_id, kept, star_date AS old_date,
        min(star_date) OVER (PARTITION BY kept, project_id) AS star_date,
        row_number() OVER (PARTITION BY kept, project_id ORDER BY user_id) AS position
    FROM (
        SELECT x.user_id, x.project_id, x.star_date, coalesce(u.kept, x.user_id) AS kept
        FROM ONLY stars AS x
        LEFT JOIN pephub_migrate_users AS u ON u.id = x.user_id
        WHERE x.user_id IN (SELECT id FROM pephub_migrate_users UNION ALL SELECT kept FROM pephub_migrate_users)
    ) AS k
) AS m
WHERE m.position > 1 OR (m.kept, m.star_date) <> (m.user_id, m.old_date);

-- Archives that are there already are left from an upgrade whose database was restored since, or from one that was undone.
-- They stay, under names of their own.
DO $$
DECLARE
    archive text;
    merged bigint := (SELECT count(*) FROM pephub_migrate_users);
    changed bigint := (SELECT count(*) FROM pephub_migrate_stars);
BEGIN
    IF merged > 0 THEN
        FOREACH archive IN ARRAY ARRAY['archived_users', 'archived_stars'] LOOP
            IF to_regclass(format('%I.%I', current_schema(), archive)) IS NOT NULL THEN
                EXECUTE format('ALTER TABLE %I RENAME TO %I', archive, archive || to_char(now(), '_YYYYMMDD_HH24MISS_US'));
            END IF;
        END LOOP;
        CREATE TABLE archived_users AS
        SELECT id, namespace, kept AS merged_into FROM pephub_migrate_users ORDER BY id;
        ALTER TABLE archived_users ADD PRIMARY KEY (id);
    END IF;
    IF changed > 0 THEN
        CREATE TABLE archived_stars AS
        SELECT user_id, project_id, old_date AS star_date, kept AS merged_into
        FROM pephub_migrate_stars
        ORDER BY user_id, project_id;
        ALTER TABLE archived_stars ADD PRIMARY KEY (user_id, project_id);
    END IF;
    IF merged > 0 THEN
        RAISE NOTICE '% users have become one with another user of their namespace, and % of their stars have another user or date or are gone; as they were they are in archived_users and archived_stars',
            merged, changed;
    END IF;
END
$$;

DELETE FROM ONLY stars AS s
USING pephub_migrate_stars AS m
WHERE (m.user_id, m.project_id) = (s.user_id, s.project_id) AND NOT m.stays;
UPDATE ONLY stars AS s
SET user_id = m.kept, star_date = m.star_date
FROM pephub_migrate_stars AS m
WHERE (m.user_id, m.project_id) = (s.user_id, s.project_id) AND m.stays;
DELETE FROM ONLY users WHERE id IN (SELECT id FROM pephub_migrate_users);
DROP TABLE pephub_migrate_stars, pephub_migrate_users;

-- The ids are not taken from the sequence: what is taken stays taken when the transaction rolls back, and the sequence may
-- be behind. RESTART is undone like everything else.
DO $$
DECLARE
    last bigint := (
        SELECT greatest((SELECT max(id) FROM ONLY users), CASE WHEN is_called THEN last_value ELSE last_value - 1 END)
        FROM users_id_seq
    );
    added bigint;
BEGIN
    INSERT INTO users (id, namespace)
    SELECT last + row_number() OVER (ORDER BY n.namespace), n.namespace
    FROM (SELECT namespace FROM ONLY projects EXCEPT SELECT namespace FROM ONLY users) AS n;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF added > 0 THEN
        EXECUTE format('ALTER SEQUENCE users_id_seq RESTART WITH %s', last + added + 1);
    END IF;
END
$$;

ALTER TABLE users ADD COLUMN number_of_projects integer NOT NULL DEFAULT 0;
ALTER TABLE users ALTER COLUMN number_of_projects DROP DEFAULT;
UPDATE ONLY users AS u
SET number_of_projects = p.projects
FROM (SELECT namespace, count(*) AS projects FROM ONLY projects GROUP BY namespace) AS p
WHERE p.namespace = u.namespace;
ALTER TABLE users ADD CONSTRAINT users_namespace_key UNIQUE (namespace);
ALTER TABLE projects
    ADD CONSTRAINT projects_namespace_fkey FOREIGN KEY (namespace) REFERENCES users (namespace) ON DELETE CASCADE;

UPDATE ONLY projects AS p
SET number_of_stars = c.stars
FROM (
    SELECT p.id, count(s.user_id) AS stars
    FROM ONLY projects AS p
    LEFT JOIN ONLY stars AS s ON s.project_id = p.id
    GROUP BY p.id
) AS c
WHERE c.id = p.id AND c.stars <> p.number_of_stars;

-- pepdbagent 0.7 and 0.8 showed one only of several samples with the same row number. All of them are kept, and counted.
UPDATE ONLY projects AS p
SET number_of_samples = c.samples
FROM (
    SELECT project_id, count(*) AS samples
    FROM ONLY samples
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
FROM (SELECT id, sample, project_id, row_number, sample_name, gen_random_uuid()::text AS guid FROM ONLY samples) AS s
LEFT JOIN ONLY projects AS p ON p.id = s.project_id;

DO $$
BEGIN
    IF (SELECT count(*) FROM pephub_migrate_samples) <> (SELECT count(*) FROM ONLY samples) THEN
        RAISE EXCEPTION 'samples went missing';
    END IF;
END
$$;

-- TRUNCATE takes no table that a foreign key leads to, and row by row a foreign key takes longer to check than at once, so
-- they step aside. So does the primary key, for the same reason, unless something else depends on it: a view that groups by
-- it, say.
ALTER TABLE views_samples DROP CONSTRAINT views_samples_sample_id_fkey;
ALTER TABLE samples DROP CONSTRAINT samples_project_id_fkey;
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT
        FROM pg_constraint AS k
        JOIN pg_depend AS d ON d.refclassid = 'pg_constraint'::regclass AND d.refobjid = k.oid AND d.deptype = 'n'
        WHERE k.conrelid = 'samples'::regclass AND k.conname = 'samples_pkey'
    ) THEN
        ALTER TABLE samples DROP CONSTRAINT samples_pkey;
    END IF;
END
$$;

TRUNCATE ONLY samples;
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
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'samples'::regclass AND conname = 'samples_pkey') THEN
        SET LOCAL default_tablespace = ''; -- where it was, unless it is put somewhere else afterwards
        ALTER TABLE samples ADD CONSTRAINT samples_pkey PRIMARY KEY (id);
        SET LOCAL default_tablespace TO DEFAULT;
    END IF;
END
$$;
ALTER TABLE samples ADD CONSTRAINT samples_guid_key UNIQUE (guid);
ALTER TABLE samples
    ADD CONSTRAINT samples_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects ON DELETE CASCADE,
    ADD CONSTRAINT samples_parent_guid_fkey FOREIGN KEY (parent_guid) REFERENCES samples (guid) ON DELETE CASCADE;
ALTER TABLE views_samples
    ADD CONSTRAINT views_samples_sample_id_fkey FOREIGN KEY (sample_id) REFERENCES samples ON DELETE CASCADE;

-- A second first sample would be invisible. That no sample has two behind it follows from how they were linked, since no guid
-- comes twice.
DO $$
DECLARE
    broken bigint;
BEGIN
    SELECT count(*) INTO broken
    FROM (
        SELECT project_id
        FROM ONLY samples
        WHERE project_id IS NOT NULL
        GROUP BY project_id
        HAVING count(*) - count(parent_guid) <> 1
    ) AS b;
    IF broken > 0 THEN
        RAISE EXCEPTION 'the samples of % projects are not one list', broken;
    END IF;
END
$$;

-- Step 11 need not ask.
SELECT set_config('pephub_migrate.order_of_samples', 'linked', true);
