-- From when to when there are visits and breaches at all; null and null: none.
SELECT min(started_at), max(started_at)
FROM (
    SELECT min(started_at) AS started_at FROM hazfence.visit UNION ALL SELECT max(started_at) FROM hazfence.visit
    UNION ALL
    SELECT min(started_at) FROM hazfence.event UNION ALL SELECT max(started_at) FROM hazfence.event
) AS ends
