-- Keep what was not used; kept again, nothing changes.
INSERT INTO hazfence.dead_letter (topic, partition, "offset", item, reason, detail, payload, payload_bytes)
SELECT %(topic)s, %(partition)s, r.*
FROM unnest(
    %(offsets)s::bigint[], %(items)s::integer[], %(reasons)s::text[], %(details)s::text[], %(payloads)s::bytea[],
    %(sizes)s::integer[]
) AS r
ON CONFLICT (topic, partition, "offset", item) DO NOTHING
