-- The log of a topic was made anew (a broker that keeps nothing): go on with the state as it is, from its beginning.
UPDATE hazfence.checkpoint SET next_offset = 0 WHERE next_offset IS NOT NULL
