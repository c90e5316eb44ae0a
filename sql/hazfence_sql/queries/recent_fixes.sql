-- For each vehicle the fixes stored for a partition between two moments, and those of the last moment before them:
-- of several fixes of one moment the engine knows which one stands.
-- place is the vehicle's place in the parameters, from 1; time is in microseconds UTC.
SELECT v.place, (extract(epoch FROM f.time) * 1000000)::bigint AS time_us, f.lon, f.lat, f.speed_kmh, f.heading_deg,
       f.alarm, f.accuracy_m
FROM unnest(%(codes)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[])
    WITH ORDINALITY AS v (code, since, until, place)
CROSS JOIN LATERAL (
    (SELECT time, lon, lat, speed_kmh, heading_deg, alarm, accuracy_m FROM hazfence.fix
     WHERE vehicle_code = v.code AND time > v.since AND time <= v.until AND stream = %(stream)s)
    UNION ALL
    (SELECT time, lon, lat, speed_kmh, heading_deg, alarm, accuracy_m FROM hazfence.fix
     WHERE vehicle_code = v.code AND time <= v.since AND stream = %(stream)s
     ORDER BY time DESC FETCH FIRST ROW WITH TIES)
) AS f
