-- Milestones that no late fix can need: those before the last one that is not after needed_us. Looked up vehicle by
-- vehicle, as in drop_milestones.
DELETE FROM hazfence.milestone
WHERE ctid = ANY (ARRAY(
    SELECT m.ctid
    FROM unnest(%(codes)s::integer[], %(needed_us)s::bigint[]) AS v (code, needed_us)
    CROSS JOIN LATERAL (
        SELECT max(b.time_us) AS first_us FROM hazfence.milestone AS b
        WHERE b.vehicle_code = v.code AND b.stream = %(stream)s AND b.time_us <= v.needed_us
        OFFSET 0
    ) AS needed
    CROSS JOIN LATERAL (
        SELECT b.ctid FROM hazfence.milestone AS b
        WHERE b.vehicle_code = v.code AND b.stream = %(stream)s AND b.time_us < needed.first_us
        OFFSET 0
    ) AS m
))
