-- Take some dead letters away that were kept before a moment.
DELETE FROM hazfence.dead_letter WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM hazfence.dead_letter WHERE kept_at < %(before)s LIMIT %(limit)s
))
