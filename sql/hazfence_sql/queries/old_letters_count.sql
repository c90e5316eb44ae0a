SELECT count(*) FROM hazfence.dead_letter WHERE kept_at < %(before)s
