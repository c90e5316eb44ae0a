-- The milestones that hold for each vehicle, from the last one before the moment wanted.
-- place is the vehicle's place in the parameters, from 1.
SELECT v.place, m.time_us, m.since_us, m.state
FROM unnest(%(codes)s::integer[], %(wanted_us)s::bigint[], %(valid_us)s::bigint[])
    WITH ORDINALITY AS v (code, wanted_us, valid_us, place)
JOIN hazfence.milestone AS m
    ON m.vehicle_code = v.code AND m.stream = %(stream)s AND m.time_us < v.valid_us
    AND m.time_us >= coalesce(
        (SELECT max(b.time_us) FROM hazfence.milestone AS b
         WHERE b.vehicle_code = v.code AND b.stream = %(stream)s AND b.time_us < least(v.wanted_us, v.valid_us)),
        v.wanted_us
    )
ORDER BY v.place, m.time_us
