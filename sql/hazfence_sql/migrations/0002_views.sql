-- Views for people: QGIS opens a view that has a unique integer column (key) and one typed geometry (geom).

CREATE VIEW hazfence.fence_map AS
SELECT key, id, version, kind, name, shape, speed_limit_kmh, max_stay_min, schedule, valid_from, valid_to, geom
FROM hazfence.fence
WHERE retired_at IS NULL;
COMMENT ON VIEW hazfence.fence_map IS 'The fences in force, as areas';

CREATE VIEW hazfence.breach_map AS
SELECT e.key, e.event_id, e.kind, e.vehicle, e.fence_id, f.name AS fence_name, e.started_at, e.ended_at,
       e.severity, e.phase, e.revision, e.detail, e.known_at, e.place AS geom
FROM hazfence.event AS e
LEFT JOIN hazfence.fence AS f ON f.id = e.fence_id AND f.version = e.fence_version
WHERE e.phase <> 'retracted';
COMMENT ON VIEW hazfence.breach_map IS 'Breaches that stand, at the place where they began';

CREATE VIEW hazfence.visit_map AS
SELECT v.key, v.event_id, v.vehicle, v.fence_id, f.name AS fence_name, f.kind AS fence_kind, v.started_at, v.ended_at,
       v.phase, v.revision, v.detail, v.known_at, v.place AS geom
FROM hazfence.visit AS v
LEFT JOIN hazfence.fence AS f ON f.id = v.fence_id AND f.version = v.fence_version
WHERE v.phase <> 'retracted';
COMMENT ON VIEW hazfence.visit_map IS 'Visits that stand, at the place where the vehicle came in';

-- A fix has no number of its own; its place on the log is one: 10 bits of partition, 33 of offset, 20 of item.
CREATE VIEW hazfence.fix_map AS
SELECT ((f.stream::bigint & 1023) << 53) | ((f."offset" & 8589934591) << 20) | (f.item & 1048575) AS key,
       c.vehicle, f.time, f.speed_kmh, f.heading_deg, f.status, f.alarm,
       ST_SetSRID(ST_MakePoint(f.lon, f.lat), 4326)::geometry(Point, 4326) AS geom
FROM hazfence.fix AS f
JOIN hazfence.vehicle_code AS c ON c.code = f.vehicle_code;
COMMENT ON VIEW hazfence.fix_map IS 'Fixes as points; filter by time, there are many';

CREATE VIEW hazfence.last_breaches AS
SELECT e.started_at, e.kind, e.vehicle, coalesce(nullif(f.name, ''), e.fence_id) AS fence, e.severity,
       e.ended_at - e.started_at AS lasted, round(ST_X(e.place)::numeric, 6) AS lon,
       round(ST_Y(e.place)::numeric, 6) AS lat, e.detail
FROM hazfence.event AS e
LEFT JOIN hazfence.fence AS f ON f.id = e.fence_id AND f.version = e.fence_version
WHERE e.phase <> 'retracted'
ORDER BY e.started_at DESC, e.event_id;
COMMENT ON VIEW hazfence.last_breaches IS 'Breaches that stand, the latest first';
