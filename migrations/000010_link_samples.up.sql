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
-- The table itself stays, with all that an operator has attached to it. TRUNCATE takes no table that a foreign key leads
-- to, and row by row a foreign key takes longer to check than at once, so all of them, the operator's own included, step
-- aside and come back.
CREATE UNLOGGED TABLE pephub_migrate_samples AS
SELECT
    s.id, s.sample, s.project_id, s.row_number, s.sample_name, l.guid, l.submission_date, l.last_update_date,
    CASE WHEN s.project_id IS NOT NULL THEN l.previous END AS parent_guid -- one without a project is a list of its own
FROM samples AS s
JOIN (
    SELECT
        g.id, g.guid,
        lag(g.guid) OVER (PARTITION BY g.project_id ORDER BY g.row_number, g.id) AS previous,
        coalesce(p.submission_date, now()) AS submission_date,
        coalesce(p.last_update_date, p.submission_date, now()) AS last_update_date
    FROM (SELECT id, project_id, row_number, gen_random_uuid()::text AS guid FROM samples) AS g
    LEFT JOIN projects AS p ON p.id = g.project_id
) AS l ON l.id = s.id;

CREATE TABLE pephub_migrate_foreign_keys AS
SELECT conrelid::regclass::text AS referencing, quote_ident(conname) AS name, pg_get_constraintdef(oid) AS definition
FROM pg_constraint
WHERE contype = 'f' AND 'samples'::regclass IN (conrelid, confrelid);

DO $$
DECLARE
    foreign_key record;
BEGIN
    FOR foreign_key IN TABLE pephub_migrate_foreign_keys LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %s', foreign_key.referencing, foreign_key.name);
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
DROP TABLE pephub_migrate_samples;

SET LOCAL application_name = 'pephub-migrate: indexing samples and checking foreign keys';
ALTER TABLE samples ADD CONSTRAINT samples_guid_key UNIQUE (guid);
ALTER TABLE samples
    ADD CONSTRAINT samples_parent_guid_fkey FOREIGN KEY (parent_guid) REFERENCES samples (guid) ON DELETE CASCADE;
DO $$
DECLARE
    foreign_key record;
BEGIN
    FOR foreign_key IN TABLE pephub_migrate_foreign_keys LOOP
        EXECUTE format(
            'ALTER TABLE %s ADD CONSTRAINT %s %s', foreign_key.referencing, foreign_key.name, foreign_key.definition
        );
    END LOOP;
END
$$;
DROP TABLE pephub_migrate_foreign_keys;

SET LOCAL application_name = 'pephub-migrate: checking the lists of samples';
-- A second first sample, or a second one behind another, would be invisible.
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
        HAVING count(*) - count(parent_guid) <> 1 OR count(DISTINCT parent_guid) <> count(parent_guid)
    ) AS b;
    IF broken > 0 THEN
        RAISE EXCEPTION 'the samples of % projects are not one list', broken;
    END IF;
END
$$;
