-- The seq after which a partition's revisions of the last age_s seconds begin. Asked once in a partition's life.
SELECT coalesce(max(seq), 0)
FROM hazfence.event_revision
WHERE topic = %(topic)s AND partition = %(partition)s
    AND known_at < now() - make_interval(secs => %(age_s)s)
