-- Facts that begin in [since, until), counted by one dimension or two.
SELECT key_1, key_2, label, visits, inside_s, mean_stay_s, vehicles, breaches, warnings, notes, going_on, retracted,
       first_at, last_at
FROM hazfence.report(
    %(by_1)s, %(by_2)s, coalesce(%(since)s::timestamptz, '-infinity'), coalesce(%(until)s::timestamptz, 'infinity'),
    %(kinds)s::text[], %(vehicles)s::text[], %(companies)s::text[], %(fences)s::text[]
)
