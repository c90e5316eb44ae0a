-- The index of a day's fixes may wait until the day is over: writing is then several times as fast. So the parent
-- table no longer prescribes it; each day has its own indexes, made with the day or when it is closed.

-- Days that exist keep the index they have: a day that is detached takes its index along, and one that comes back
-- under a parent without an index keeps it.
DO $$
DECLARE
    days oid[] := ARRAY(SELECT inhrelid FROM pg_inherits WHERE inhparent = 'hazfence.fix'::regclass ORDER BY inhrelid);
    bounds text[] := ARRAY(
        SELECT pg_get_expr(c.relpartbound, c.oid) FROM unnest(days) WITH ORDINALITY AS d (oid, place)
        JOIN pg_class AS c ON c.oid = d.oid ORDER BY d.place
    );
BEGIN
    FOR i IN 1 .. cardinality(days) LOOP
        EXECUTE format('ALTER TABLE hazfence.fix DETACH PARTITION %s', days[i]::regclass);
    END LOOP;
    DROP INDEX hazfence.fix_vehicle_time;
    FOR i IN 1 .. cardinality(days) LOOP
        EXECUTE format('ALTER TABLE hazfence.fix ATTACH PARTITION %s %s', days[i]::regclass, bounds[i]);
    END LOOP;
END
$$;

-- As before, and: with index_now false the day gets a BRIN index on time, which costs next to nothing, instead of the
-- index by vehicle and time, which hazfence maintain builds when the day is over.
DROP FUNCTION hazfence.ensure_fix_day(date);
CREATE FUNCTION hazfence.ensure_fix_day(day date, index_now boolean DEFAULT true) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET datestyle = 'ISO'
AS $$
DECLARE
    partition_name text := 'fix_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF day IS NULL OR day < date '2000-01-01' OR day >= date '2200-01-01' THEN
        RAISE EXCEPTION 'no fixes are kept for day %', day USING ERRCODE = 'datetime_field_overflow';
    END IF;
    IF to_regclass('hazfence.' || partition_name) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('hazfence.ensure_fix_day', 0));
    -- Not to_regclass again: it would answer from what this session has cached, and the table may be new.
    IF EXISTS (
        SELECT 1 FROM pg_class WHERE relname = partition_name AND relnamespace = 'hazfence'::regnamespace
    ) THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE hazfence.%I (LIKE hazfence.fix INCLUDING ALL)', partition_name);
    IF index_now THEN
        EXECUTE format('CREATE INDEX %I ON hazfence.%I (vehicle_code, time)',
                       partition_name || '_vehicle_time', partition_name);
    ELSE
        EXECUTE format('CREATE INDEX %I ON hazfence.%I USING brin (time) WITH (autosummarize)',
                       partition_name || '_time', partition_name);
    END IF;
    EXECUTE format(
        'ALTER TABLE hazfence.fix ATTACH PARTITION hazfence.%I FOR VALUES FROM (%L) TO (%L)',
        partition_name, day::timestamptz, (day + 1)::timestamptz
    );
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION hazfence.ensure_fix_day(date, boolean) FROM PUBLIC;

-- Letters are taken away by age.
CREATE INDEX dead_letter_kept ON hazfence.dead_letter USING brin (kept_at);

DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'hazfence_write')
            AND has_schema_privilege('hazfence_write', 'hazfence', 'USAGE') THEN
        GRANT EXECUTE ON FUNCTION hazfence.ensure_fix_day(date, boolean) TO hazfence_write;
    END IF;
END
$$;
