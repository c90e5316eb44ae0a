-- Milestones that no late fix can need: those before the last one that is not after needed_us.
DELETE FROM hazfence.milestone AS m
USING unnest(%(codes)s::integer[], %(needed_us)s::bigint[]) AS v (code, needed_us)
WHERE m.vehicle_code = v.code AND m.stream = %(stream)s
    AND m.time_us < (SELECT max(b.time_us) FROM hazfence.milestone AS b
                     WHERE b.vehicle_code = v.code AND b.stream = %(stream)s AND b.time_us <= v.needed_us)
