-- New milestones; drop_milestones has made room for them. One that is there comes from an earlier try at the same
-- checkpoint whose answer was lost, and is the same.
INSERT INTO hazfence.milestone (stream, vehicle_code, time_us, since_us, state)
SELECT %(stream)s, given.*
FROM unnest(%(codes)s::integer[], %(time_us)s::bigint[], %(since_us)s::bigint[], %(states)s::bytea[]) AS given
ON CONFLICT (vehicle_code, stream, time_us) DO NOTHING
