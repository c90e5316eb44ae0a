-- The facts behind a report, one a row, the latest revision of each; those retracted come too, and say so.
SELECT f.event_id, f.kind, f.severity, f.phase, f.vehicle, f.company_id, f.company_name, f.fence_id, f.fence_name,
       f.checkpoint_id, f.local_start, f.ended_at AT TIME ZONE hazfence.time_zone(), f.lasted_s
FROM hazfence.fact AS f
WHERE f.started_at >= coalesce(%(since)s::timestamptz, '-infinity')
  AND f.started_at < coalesce(%(until)s::timestamptz, 'infinity')
  AND (%(kinds)s::text[] IS NULL OR f.kind = ANY (%(kinds)s::text[]))
  AND (%(vehicles)s::text[] IS NULL OR f.vehicle = ANY (%(vehicles)s::text[]))
  AND (%(companies)s::text[] IS NULL OR f.company_id = ANY (%(companies)s::text[]))
  AND (%(fences)s::text[] IS NULL OR f.fence_id = ANY (%(fences)s::text[]))
ORDER BY f.started_at, f.event_id
LIMIT %(limit)s
