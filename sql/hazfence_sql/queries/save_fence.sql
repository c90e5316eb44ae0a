INSERT INTO hazfence.fence (
    id, version, kind, name, shape, geom, centre, radius_m, axis, width_m, speed_limit_kmh, max_stay_min, thin,
    schedule, valid_from, valid_to, definition
)
VALUES (
    %(id)s, %(version)s, %(kind)s, %(name)s, %(shape)s, ST_Multi(ST_GeomFromWKB(%(geom)b, 4326)),
    ST_GeomFromWKB(%(centre)b, 4326), %(radius_m)s, ST_GeomFromWKB(%(axis)b, 4326), %(width_m)s,
    %(speed_limit_kmh)s, %(max_stay_min)s, %(thin)s, %(schedule)s::jsonb, %(valid_from)s, %(valid_to)s,
    %(definition)s::jsonb
)
