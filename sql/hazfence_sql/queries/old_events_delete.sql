-- Take some events away that are over since before a moment, with every revision of them.
WITH old AS MATERIALIZED (
    SELECT event_id FROM hazfence.event
    WHERE started_at < %(before)s AND coalesce(ended_at, started_at) < %(before)s AND phase IN ('closed', 'retracted')
    ORDER BY started_at
    LIMIT %(limit)s
), revisions AS (
    DELETE FROM hazfence.event_revision AS r USING old WHERE r.event_id = old.event_id
)
DELETE FROM hazfence.event AS e USING old WHERE e.event_id = old.event_id
