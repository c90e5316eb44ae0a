-- How many fixes of a topic are stored.
SELECT count(*)
FROM hazfence.fix AS f
JOIN hazfence.stream AS s ON s.stream = f.stream
WHERE s.topic = %(topic)s
