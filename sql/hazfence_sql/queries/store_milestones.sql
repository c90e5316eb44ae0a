-- New milestones; drop_milestones has made room for them.
INSERT INTO hazfence.milestone (stream, vehicle_code, time_us, since_us, state)
SELECT %(stream)s, given.*
FROM unnest(%(codes)s::integer[], %(time_us)s::bigint[], %(since_us)s::bigint[], %(states)s::bytea[]) AS given
