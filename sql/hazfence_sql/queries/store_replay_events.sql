-- Store what a run found. Given: events as a JSON array of Event.to_json(), each fact once.
INSERT INTO hazfence.replay_event (
    run, event_id, kind, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, place, end_place,
    severity, detail
)
SELECT %(run)s, r.id, r.kind, r.vehicle, r.fence_id, r.fence_version, r.revision, r.phase, r.started_at, r.ended_at,
       ST_SetSRID(ST_MakePoint(r.lon, r.lat), 4326),
       CASE WHEN r.end_lon IS NOT NULL AND r.end_lat IS NOT NULL
            THEN ST_SetSRID(ST_MakePoint(r.end_lon, r.end_lat), 4326) END,
       r.severity, r.detail
FROM ROWS FROM (
    jsonb_to_recordset(%(events)s::jsonb) AS (
        id uuid, kind text, vehicle text, fence_id text, fence_version integer, revision integer, phase text,
        started_at timestamptz, ended_at timestamptz, lon double precision, lat double precision,
        end_lon double precision, end_lat double precision, severity text, detail jsonb
    )
) WITH ORDINALITY AS r (
    id, kind, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, lon, lat, end_lon, end_lat,
    severity, detail, place_in_order
)
ORDER BY r.place_in_order
