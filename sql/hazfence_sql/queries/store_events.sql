-- Store revisions of events: all of them into event_revision, the latest of each into visit or event. Stored again,
-- nothing changes: no row, no seq. Given: events as a JSON array of Event.to_json(), in the order they were said.
WITH given AS MATERIALIZED (
    SELECT r.*,
           ST_SetSRID(ST_MakePoint(r.lon, r.lat), 4326) AS place,
           CASE WHEN r.end_lon IS NOT NULL AND r.end_lat IS NOT NULL
                THEN ST_SetSRID(ST_MakePoint(r.end_lon, r.end_lat), 4326) END AS end_place
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
), latest AS MATERIALIZED (
    SELECT DISTINCT ON (id) * FROM given ORDER BY id, revision DESC, place_in_order
), revisions AS (
    INSERT INTO hazfence.event_revision (
        event_id, kind, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, place, end_place,
        severity, detail, topic, partition
    )
    SELECT g.id, g.kind, g.vehicle, g.fence_id, g.fence_version, g.revision, g.phase, g.started_at, g.ended_at,
           g.place, g.end_place, g.severity, g.detail, %(topic)s, %(partition)s
    FROM given AS g
    WHERE NOT EXISTS (  -- most of what is stored again after a crash ends here, and takes no number
        SELECT 1 FROM hazfence.event_revision AS known WHERE known.event_id = g.id AND known.revision = g.revision
    )
    ORDER BY g.place_in_order
    ON CONFLICT (event_id, revision) DO NOTHING
), visits AS (
    INSERT INTO hazfence.visit AS stored (
        event_id, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, place, end_place,
        severity, detail, topic, partition
    )
    SELECT id, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, place, end_place,
           severity, detail, %(topic)s, %(partition)s
    FROM latest
    WHERE kind = 'visit'
    ORDER BY place_in_order
    ON CONFLICT (event_id) DO UPDATE SET
        fence_version = excluded.fence_version, revision = excluded.revision, phase = excluded.phase,
        started_at = excluded.started_at, ended_at = excluded.ended_at, place = excluded.place,
        end_place = excluded.end_place, severity = excluded.severity, detail = excluded.detail, revised_at = now()
    WHERE stored.revision < excluded.revision
)
INSERT INTO hazfence.event AS stored (
    event_id, kind, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, place, end_place,
    severity, detail, topic, partition
)
SELECT id, kind, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, place, end_place,
       severity, detail, %(topic)s, %(partition)s
FROM latest
WHERE kind <> 'visit'
ORDER BY place_in_order
ON CONFLICT (event_id) DO UPDATE SET
    fence_version = excluded.fence_version, revision = excluded.revision, phase = excluded.phase,
    started_at = excluded.started_at, ended_at = excluded.ended_at, place = excluded.place,
    end_place = excluded.end_place, severity = excluded.severity, detail = excluded.detail, revised_at = now()
WHERE stored.revision < excluded.revision
