-- Milestones that do not hold any more: those of each vehicle from a moment on.
DELETE FROM hazfence.milestone AS m
USING unnest(%(codes)s::integer[], %(from_us)s::bigint[]) AS v (code, from_us)
WHERE m.vehicle_code = v.code AND m.stream = %(stream)s AND m.time_us >= v.from_us
