-- Replays of history, each under the number of its run and never among the live rows: what a draft fence, another
-- setting or another release makes of recorded tracks. A run is in the database whole or not at all.

CREATE TABLE hazfence.replay_run (
    run integer GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    source text NOT NULL,
    since timestamptz,
    until timestamptz,
    vehicles jsonb,                          -- names asked for; null: all
    settings jsonb NOT NULL,
    fences jsonb NOT NULL,                   -- a GeoJSON feature a fence, as it was used
    fixes bigint NOT NULL,
    set_aside jsonb NOT NULL,                -- fixes that could not be used, by reason
    release text NOT NULL,
    stored_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT replay_run_pkey PRIMARY KEY (run),
    CONSTRAINT replay_run_name UNIQUE (name)
);
COMMENT ON TABLE hazfence.replay_run IS 'Replays of history: what was replayed with what';

CREATE TABLE hazfence.replay_event (
    key bigint GENERATED ALWAYS AS IDENTITY,
    run integer NOT NULL,
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
    CONSTRAINT replay_event_pkey PRIMARY KEY (run, event_id),
    CONSTRAINT replay_event_key UNIQUE (key),
    CONSTRAINT replay_event_run FOREIGN KEY (run) REFERENCES hazfence.replay_run (run) ON DELETE CASCADE,
    CONSTRAINT replay_event_phase_known CHECK (phase IN ('opened', 'amended', 'closed', 'retracted')),
    CONSTRAINT replay_event_severity_known CHECK (severity IN ('info', 'warning', 'breach'))
);
COMMENT ON TABLE hazfence.replay_event IS 'Visits and breaches that a replay found, latest revision each';
CREATE INDEX replay_event_started ON hazfence.replay_event (run, started_at);
CREATE INDEX replay_event_place ON hazfence.replay_event USING gist (place);

CREATE VIEW hazfence.replay_map AS
SELECT e.key, r.name AS run, e.event_id, e.kind, e.vehicle, e.fence_id, e.started_at, e.ended_at, e.severity,
       e.phase, e.revision, e.detail, e.place AS geom
FROM hazfence.replay_event AS e
JOIN hazfence.replay_run AS r ON r.run = e.run
WHERE e.phase <> 'retracted';
COMMENT ON VIEW hazfence.replay_map IS 'What replays found, at the place where it began; filter by run';

DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'hazfence_read')
            AND has_schema_privilege('hazfence_read', 'hazfence', 'USAGE') THEN
        GRANT SELECT ON hazfence.replay_run, hazfence.replay_event, hazfence.replay_map TO hazfence_read;
    END IF;
    -- A run is nobody's evidence: who may store one may remove it.
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'hazfence_write')
            AND has_schema_privilege('hazfence_write', 'hazfence', 'USAGE') THEN
        GRANT SELECT ON hazfence.replay_map TO hazfence_write;
        GRANT SELECT, INSERT, DELETE ON hazfence.replay_run, hazfence.replay_event TO hazfence_write;
    END IF;
END
$$;
