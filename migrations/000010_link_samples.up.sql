-- Release: pepdbagent 0.9.0: the samples of a project are a linked list, and every namespace has one user.
-- Data: samples keep their order as a list; users of one namespace become one, with all their stars; missing ones are added.
-- Undo: numbers the samples in the order of their list.

LOCK TABLE projects, users, samples, stars, views_samples IN ACCESS EXCLUSIVE MODE;

-- Nothing kept users.namespace unique before. The oldest stays; of two stars on one project the earlier counts.
WITH same AS (
    SELECT id, min(id) OVER (PARTITION BY namespace) AS kept FROM users
),
moved AS (
    DELETE FROM stars AS s
    USING same AS u
    WHERE u.id = s.user_id AND u.kept IN (SELECT kept FROM same WHERE id <> kept)
    RETURNING u.kept, s.project_id, s.star_date
)
INSERT INTO stars (user_id, project_id, star_date)
SELECT kept, project_id, min(star_date) FROM moved GROUP BY kept, project_id;

DELETE FROM users AS u
USING users AS older
WHERE older.namespace = u.namespace AND older.id < u.id;

INSERT INTO users (namespace)
SELECT namespace FROM projects
EXCEPT
SELECT namespace FROM users
ORDER BY 1;

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

ALTER TABLE samples
    ADD COLUMN guid varchar,
    ADD COLUMN submission_date timestamptz,
    ADD COLUMN last_update_date timestamptz,
    ADD COLUMN parent_guid varchar;

-- A sample without a project is a list of its own.
UPDATE samples AS s
SET guid = l.guid,
    parent_guid = CASE WHEN l.project_id IS NOT NULL THEN l.previous END,
    submission_date = l.submission_date,
    last_update_date = l.last_update_date
FROM (
    SELECT
        g.id, g.guid, g.project_id,
        lag(g.guid) OVER (PARTITION BY g.project_id ORDER BY g.row_number, g.id) AS previous,
        coalesce(p.submission_date, now()) AS submission_date,
        coalesce(p.last_update_date, p.submission_date, now()) AS last_update_date
    FROM (SELECT id, project_id, row_number, gen_random_uuid()::text AS guid FROM samples) AS g
    LEFT JOIN projects AS p ON p.id = g.project_id
) AS l
WHERE l.id = s.id;

ALTER TABLE samples
    ALTER COLUMN guid SET NOT NULL,
    ALTER COLUMN submission_date SET NOT NULL,
    ADD CONSTRAINT samples_guid_key UNIQUE (guid);
ALTER TABLE samples
    ADD CONSTRAINT samples_parent_guid_fkey FOREIGN KEY (parent_guid) REFERENCES samples (guid) ON DELETE CASCADE;

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
