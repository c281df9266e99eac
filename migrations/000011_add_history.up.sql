-- Release: pepdbagent 0.10.0: the history of projects and samples; the order of samples is their list alone.
-- Data: stays as it is; samples.row_number goes, which 0.9 no longer read, to archived_sample_row_numbers where it says another order than the list. History that a 0.10 wrote already is kept.
-- Undo: gives back the row numbers that were archived, and refuses to lose history.

LOCK TABLE projects, users IN SHARE ROW EXCLUSIVE MODE;
LOCK TABLE samples IN ACCESS EXCLUSIVE MODE;

-- pepdbagent 0.10 works on the tables of 0.9, once it has added these, as long as nobody adds a sample.
DO $$
BEGIN
    IF to_regtype(format('%I.updatetypes', current_schema())) IS NULL THEN
        CREATE TYPE updatetypes AS ENUM ('UPDATE', 'INSERT', 'DELETE');
    END IF;
END
$$;

-- The column "user" is NOT NULL and its foreign key sets NULL on delete, so deleting a user who edited somebody
-- else's project fails. pepdbagent made it so in every release.
CREATE TABLE IF NOT EXISTS project_history (
    id serial PRIMARY KEY,
    project_id integer NOT NULL REFERENCES projects ON DELETE CASCADE,
    "user" varchar NOT NULL REFERENCES users (namespace) ON DELETE SET NULL,
    update_time timestamptz NOT NULL,
    project_yaml json NOT NULL
);

CREATE TABLE IF NOT EXISTS sample_history (
    id serial PRIMARY KEY,
    history_id integer NOT NULL REFERENCES project_history ON DELETE CASCADE,
    guid varchar NOT NULL,
    parent_guid varchar,
    sample_json json NOT NULL,
    change_type updatetypes NOT NULL
);

-- An archive that is there already is left from an upgrade whose database was restored since. It stays, under a name of
-- its own: its rows must not get into the way back.
DO $$
BEGIN
    IF to_regclass(format('%I.archived_sample_row_numbers', current_schema())) IS NOT NULL THEN
        EXECUTE format(
            'ALTER TABLE archived_sample_row_numbers RENAME TO %I',
            'archived_sample_row_numbers' || to_char(now(), '_YYYYMMDD_HH24MISS_US')
        );
    END IF;
END
$$;

SET LOCAL application_name = 'pephub-migrate: comparing lists of samples with row numbers';
-- Where a list is broken, the row numbers may be the only order. Step 10 has just linked samples in this very order.
-- To sort all samples takes three times as long as to see, from sums, that each sample but the last is the parent of the
-- one with the next number. Only projects of which that is not true are sorted.
CREATE UNLOGGED TABLE pephub_migrate_suspects AS
SELECT s.project_id
FROM ONLY samples AS s
JOIN ONLY projects AS p ON p.id = s.project_id
WHERE current_setting('pephub_migrate.order_of_samples', true) IS DISTINCT FROM 'linked'
GROUP BY s.project_id
HAVING count(*) - count(s.parent_guid) <> 1
    OR min(s.row_number) <> 0
    OR max(s.row_number) <> count(*) - 1
    OR sum(hashtextextended(s.guid, s.row_number) >> 20) FILTER (WHERE s.row_number < p.number_of_samples - 1)
        IS DISTINCT FROM sum(hashtextextended(s.parent_guid, s.row_number - 1) >> 20);
DO $$
BEGIN
    IF EXISTS (SELECT FROM pephub_migrate_suspects) THEN
        CREATE TABLE archived_sample_row_numbers AS
        SELECT id AS sample_id, project_id, row_number
        FROM ONLY samples
        WHERE project_id IN (
            SELECT l.project_id
            FROM (
                SELECT
                    project_id, parent_guid,
                    lag(guid) OVER (PARTITION BY project_id ORDER BY row_number, id) AS guid_before
                FROM ONLY samples
                WHERE project_id IN (SELECT project_id FROM pephub_migrate_suspects)
            ) AS l
            WHERE l.parent_guid IS DISTINCT FROM l.guid_before
        )
        ORDER BY project_id, row_number, id;
        IF EXISTS (SELECT FROM archived_sample_row_numbers) THEN
            ALTER TABLE archived_sample_row_numbers ADD PRIMARY KEY (sample_id);
        ELSE
            DROP TABLE archived_sample_row_numbers;
        END IF;
    END IF;
END
$$;
DROP TABLE pephub_migrate_suspects;

ALTER TABLE samples DROP COLUMN row_number;
