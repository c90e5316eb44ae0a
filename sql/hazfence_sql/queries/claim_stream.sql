-- Give a partition its number, once.
INSERT INTO hazfence.stream (topic, partition)
SELECT %(topic)s, %(partition)s
WHERE NOT EXISTS (SELECT 1 FROM hazfence.stream WHERE topic = %(topic)s AND partition = %(partition)s)
ON CONFLICT (topic, partition) DO NOTHING
