-- Milestones: the state of each vehicle's story about once an hour, so that a fix that comes hours late is judged by
-- telling the story again from there, with the fixes of hazfence.fix. They are written in the checkpoint's
-- transaction; those no late fix can ask for any more are deleted with the vehicle's next ones.
-- Times are microseconds UTC, as the engine has them: the least bigint stands for "before the first fix".
CREATE TABLE hazfence.milestone (
    stream integer NOT NULL,
    vehicle_code integer NOT NULL,
    time_us bigint NOT NULL,             -- the fix at which the state was this
    since_us bigint NOT NULL,            -- it was the same at every fix from here on
    state bytea NOT NULL,                -- only the engine reads it
    CONSTRAINT milestone_pkey PRIMARY KEY (vehicle_code, stream, time_us),
    CONSTRAINT milestone_stream FOREIGN KEY (stream) REFERENCES hazfence.stream (stream),
    CONSTRAINT milestone_vehicle FOREIGN KEY (vehicle_code) REFERENCES hazfence.vehicle_code (code)
);
COMMENT ON TABLE hazfence.milestone IS 'States from which a vehicle''s story can be told again, one an hour or so';

DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'hazfence_read')
            AND has_schema_privilege('hazfence_read', 'hazfence', 'USAGE') THEN
        GRANT SELECT ON hazfence.milestone TO hazfence_read;
    END IF;
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'hazfence_write')
            AND has_schema_privilege('hazfence_write', 'hazfence', 'USAGE') THEN
        GRANT SELECT, INSERT, DELETE ON hazfence.milestone TO hazfence_write;
    END IF;
END
$$;
