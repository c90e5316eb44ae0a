-- Milestones that do not hold any more: those of each vehicle from a moment on. They are looked up vehicle by vehicle
-- (OFFSET 0 keeps it so): joined freely, a stream that the statistics do not know yet looks empty to the planner, which
-- then reads all of it and compares each row with each vehicle.
DELETE FROM hazfence.milestone
WHERE ctid = ANY (ARRAY(
    SELECT m.ctid
    FROM unnest(%(codes)s::integer[], %(from_us)s::bigint[]) AS v (code, from_us)
    CROSS JOIN LATERAL (
        SELECT b.ctid FROM hazfence.milestone AS b
        WHERE b.vehicle_code = v.code AND b.stream = %(stream)s AND b.time_us >= v.from_us
        OFFSET 0
    ) AS m
))
