-- The milestones that hold for each vehicle, from the last one before the moment wanted. Looked up vehicle by vehicle,
-- as in drop_milestones. place is the vehicle's place in the parameters, from 1.
SELECT v.place, m.time_us, m.since_us, m.state
FROM unnest(%(codes)s::integer[], %(wanted_us)s::bigint[], %(valid_us)s::bigint[])
    WITH ORDINALITY AS v (code, wanted_us, valid_us, place)
CROSS JOIN LATERAL (
    SELECT max(b.time_us) AS first_us FROM hazfence.milestone AS b
    WHERE b.vehicle_code = v.code AND b.stream = %(stream)s AND b.time_us < least(v.wanted_us, v.valid_us)
    OFFSET 0
) AS needed
CROSS JOIN LATERAL (
    SELECT b.time_us, b.since_us, b.state FROM hazfence.milestone AS b
    WHERE b.vehicle_code = v.code AND b.stream = %(stream)s AND b.time_us < v.valid_us
        AND b.time_us >= coalesce(needed.first_us, v.wanted_us)
    OFFSET 0
) AS m
ORDER BY v.place, m.time_us
