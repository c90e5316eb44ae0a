-- One upkeep at a time; free again when the session ends.
SELECT pg_try_advisory_lock(hashtextextended('hazfence.upkeep', 0))
