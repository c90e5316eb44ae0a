-- The tables: what is fenced, what was reported, what was found, and how far the reading has come.
-- Everything lives in schema hazfence; PostGIS is found through the search path of whoever migrates.
-- Times are timestamptz, places WGS-84 (SRID 4326), other units are in the column names.

-- Each row is one version of a fence; a changed definition is a new row, so that a verdict of last year can be
-- looked at on the fence of last year. The version in force has retired_at null.
CREATE TABLE hazfence.fence (
    key integer GENERATED ALWAYS AS IDENTITY,
    id text NOT NULL,
    version integer NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    shape text NOT NULL,
    geom geometry(MultiPolygon, 4326) NOT NULL,
    centre geometry(Point, 4326),
    radius_m double precision,
    axis geometry(LineString, 4326),
    width_m double precision,
    speed_limit_kmh double precision,
    max_stay_min double precision,
    thin boolean NOT NULL,
    schedule jsonb,
    valid_from timestamptz,
    valid_to timestamptz,
    definition jsonb NOT NULL,           -- a GeoJSON feature in WGS-84: reading it gives this fence again
    saved_at timestamptz DEFAULT now() NOT NULL,
    retired_at timestamptz,
    CONSTRAINT fence_pkey PRIMARY KEY (id, version),
    CONSTRAINT fence_key UNIQUE (key),
    CONSTRAINT fence_version_from_1 CHECK (version >= 1),
    CONSTRAINT fence_shape_known CHECK (shape IN ('polygon', 'circle', 'corridor'))
);
COMMENT ON TABLE hazfence.fence IS 'Fences, one row a version; retired_at is null for the version in force';
CREATE UNIQUE INDEX fence_in_force ON hazfence.fence (id) WHERE retired_at IS NULL;
CREATE INDEX fence_geom ON hazfence.fence USING gist (geom);

-- Two dictionaries, so that a fix, of which there are billions, carries integers instead of texts.
CREATE TABLE hazfence.vehicle_code (
    code integer GENERATED ALWAYS AS IDENTITY,
    vehicle text NOT NULL,
    CONSTRAINT vehicle_code_pkey PRIMARY KEY (code),
    CONSTRAINT vehicle_code_vehicle UNIQUE (vehicle)
);
COMMENT ON TABLE hazfence.vehicle_code IS 'Number of each vehicle (plate) in hazfence.fix';

CREATE TABLE hazfence.stream (
    stream integer GENERATED ALWAYS AS IDENTITY,
    topic text NOT NULL,
    partition integer NOT NULL,
    CONSTRAINT stream_pkey PRIMARY KEY (stream),
    CONSTRAINT stream_topic_partition UNIQUE (topic, partition)
);
COMMENT ON TABLE hazfence.stream IS 'Number of each partition of a topic in hazfence.fix';

-- Fixed-width columns in descending alignment: no padding, and rows that can be copied in from arrays.
-- No primary key: the checkpoint transaction writes each fix once, and an index on (stream, "offset", item) would
-- cost more than the write itself.
CREATE TABLE hazfence.fix (
    time timestamptz NOT NULL,
    lon double precision NOT NULL,
    lat double precision NOT NULL,
    "offset" bigint NOT NULL,
    status bigint NOT NULL,              -- JT/T 808 bits; bigint because they are 32 unsigned bits
    alarm bigint NOT NULL,
    vehicle_code integer NOT NULL,
    stream integer NOT NULL,
    item integer NOT NULL,
    speed_kmh real,
    heading_deg real
) PARTITION BY RANGE (time);
COMMENT ON TABLE hazfence.fix IS 'Accepted GPS fixes, one partition a UTC day (hazfence.ensure_fix_day)';
CREATE INDEX fix_vehicle_time ON hazfence.fix (vehicle_code, time);

-- Create the partition for a UTC day. SECURITY DEFINER: the writing role need not own tables. A separate CREATE and
-- ATTACH locks the parent only against other such changes; CREATE ... PARTITION OF would wait for every running COPY
-- and stop the ones after it.
CREATE FUNCTION hazfence.ensure_fix_day(day date) RETURNS boolean
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
    EXECUTE format(
        'ALTER TABLE hazfence.fix ATTACH PARTITION hazfence.%I FOR VALUES FROM (%L) TO (%L)',
        partition_name, day::timestamptz, (day + 1)::timestamptz
    );
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION hazfence.ensure_fix_day(date) FROM PUBLIC;

-- The latest revision of every visit and of every breach. key, known_at and revised_at depend on when the row was
-- written; every other column follows from the fixes alone and is the same on every run.
CREATE TABLE hazfence.visit (
    key bigint GENERATED ALWAYS AS IDENTITY,
    event_id uuid NOT NULL,
    vehicle text NOT NULL,
    fence_id text,
    fence_version integer,
    revision integer NOT NULL,
    phase text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    place geometry(Point, 4326) NOT NULL,
    end_place geometry(Point, 4326),
    severity text NOT NULL,
    detail jsonb NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    known_at timestamptz DEFAULT now() NOT NULL,
    revised_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT visit_pkey PRIMARY KEY (event_id),
    CONSTRAINT visit_key UNIQUE (key),
    CONSTRAINT visit_phase_known CHECK (phase IN ('opened', 'amended', 'closed', 'retracted')),
    CONSTRAINT visit_severity_known CHECK (severity IN ('info', 'warning', 'breach'))
);
COMMENT ON TABLE hazfence.visit IS 'Stays of vehicles in fences and passages through them, latest revision each';
CREATE INDEX visit_vehicle_started ON hazfence.visit (vehicle, started_at);
CREATE INDEX visit_fence_started ON hazfence.visit (fence_id, started_at);
CREATE INDEX visit_open ON hazfence.visit (topic, partition) WHERE phase IN ('opened', 'amended');
CREATE INDEX visit_place ON hazfence.visit USING gist (place);

CREATE TABLE hazfence.event (
    key bigint GENERATED ALWAYS AS IDENTITY,
    event_id uuid NOT NULL,
    kind text NOT NULL,
    vehicle text NOT NULL,
    fence_id text,
    fence_version integer,
    revision integer NOT NULL,
    phase text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    place geometry(Point, 4326) NOT NULL,
    end_place geometry(Point, 4326),
    severity text NOT NULL,
    detail jsonb NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    known_at timestamptz DEFAULT now() NOT NULL,
    revised_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT event_pkey PRIMARY KEY (event_id),
    CONSTRAINT event_key UNIQUE (key),
    CONSTRAINT event_phase_known CHECK (phase IN ('opened', 'amended', 'closed', 'retracted')),
    CONSTRAINT event_severity_known CHECK (severity IN ('info', 'warning', 'breach'))
);
COMMENT ON TABLE hazfence.event IS 'Breaches, latest revision each';
CREATE INDEX event_started ON hazfence.event (started_at);
CREATE INDEX event_vehicle_started ON hazfence.event (vehicle, started_at);
CREATE INDEX event_fence_started ON hazfence.event (fence_id, started_at);
CREATE INDEX event_open ON hazfence.event (topic, partition) WHERE phase IN ('opened', 'amended');
CREATE INDEX event_place ON hazfence.event USING gist (place);

-- Every revision ever stored, never changed: the outbox that the board is fed from, and the history of what was said
-- when. seq grows with commit order within a partition, because its one owner holds the checkpoint row while writing.
CREATE TABLE hazfence.event_revision (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    event_id uuid NOT NULL,
    kind text NOT NULL,
    vehicle text NOT NULL,
    fence_id text,
    fence_version integer,
    revision integer NOT NULL,
    phase text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    place geometry(Point, 4326) NOT NULL,
    end_place geometry(Point, 4326),
    severity text NOT NULL,
    detail jsonb NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    known_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT event_revision_pkey PRIMARY KEY (seq),
    CONSTRAINT event_revision_once UNIQUE (event_id, revision)
);
COMMENT ON TABLE hazfence.event_revision IS 'Every revision of every visit and breach, in the order it was stored';
CREATE INDEX event_revision_outbox ON hazfence.event_revision (topic, partition, seq);

CREATE TABLE hazfence.dead_letter (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    item integer NOT NULL,               -- place of the fix in its message, -1: the message as a whole
    reason text NOT NULL,
    detail text NOT NULL,
    payload bytea NOT NULL,              -- cut to the store's limit; payload_bytes is the size it had
    payload_bytes integer NOT NULL,
    kept_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT dead_letter_pkey PRIMARY KEY (topic, partition, "offset", item)
);
COMMENT ON TABLE hazfence.dead_letter IS 'Messages and fixes that were not used, with the reason';

-- How far each partition was processed, and the state of the engine at that point. epoch counts the owners: a write
-- with an older epoch is refused.
CREATE TABLE hazfence.checkpoint (
    topic text NOT NULL,
    partition integer NOT NULL,
    epoch integer NOT NULL,
    next_offset bigint,
    snapshot bytea,
    claimed_at timestamptz DEFAULT now() NOT NULL,
    written_at timestamptz,
    CONSTRAINT checkpoint_pkey PRIMARY KEY (topic, partition),
    CONSTRAINT checkpoint_stream FOREIGN KEY (topic, partition) REFERENCES hazfence.stream (topic, partition),
    CONSTRAINT checkpoint_whole CHECK ((next_offset IS NULL) = (snapshot IS NULL))
);
COMMENT ON TABLE hazfence.checkpoint IS 'State of each partition: owner, next offset, snapshot of the engine';
-- Megabytes every few seconds, packed by the engine already: do not compress again.
ALTER TABLE hazfence.checkpoint ALTER COLUMN snapshot SET STORAGE EXTERNAL;
