-- Group roles for a worker (hazfence_write) and for looking on (hazfence_read). They cannot log in: grant them to the
-- users you have, e.g. GRANT hazfence_write TO worker. Roles belong to the whole server, so a migrator that may not
-- create them, or is told not to (hazfence.roles = 'off'), goes on without, and says so.
DO $$
DECLARE
    wanted boolean := coalesce(nullif(current_setting('hazfence.roles', true), ''), 'on') <> 'off';
    role_name text;
BEGIN
    IF NOT wanted THEN
        RAISE NOTICE 'hazfence: roles hazfence_read and hazfence_write left alone, as asked';
        RETURN;
    END IF;
    FOREACH role_name IN ARRAY ARRAY['hazfence_read', 'hazfence_write'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of this server was faster
                WHEN insufficient_privilege THEN
                    RAISE NOTICE 'hazfence: may not create role %, so nothing is granted to it', role_name;
                    CONTINUE;
            END;
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA hazfence TO %I', role_name);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA hazfence TO %I', role_name);
    END LOOP;
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'hazfence_write') THEN
        GRANT INSERT ON hazfence.stream, hazfence.vehicle_code, hazfence.fix, hazfence.event_revision,
                        hazfence.dead_letter TO hazfence_write;
        GRANT INSERT, UPDATE ON hazfence.visit, hazfence.event, hazfence.checkpoint, hazfence.fence TO hazfence_write;
        GRANT EXECUTE ON FUNCTION hazfence.ensure_fix_day(date) TO hazfence_write;
    END IF;
END
$$;
