-- Release: back to pepdbagent 0.11.0, which has neither namespace_archives nor bedbase_stats.
-- Data: both tables go; refused as long as one holds a row, unless MIGRATE_ALLOW_DATA_LOSS is true.
-- Undo: makes the tables again, empty.

LOCK TABLE namespace_archives, bedbase_stats IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    archives bigint := (SELECT count(*) FROM ONLY namespace_archives);
    stats bigint := (SELECT count(*) FROM ONLY bedbase_stats);
BEGIN
    IF archives + stats > 0 AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true' THEN
        RAISE EXCEPTION 'pepdbagent 0.11.0 has no place for % rows of namespace_archives and % rows of bedbase_stats',
            archives, stats
            USING HINT = 'back them up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;

DROP TABLE namespace_archives, bedbase_stats;
