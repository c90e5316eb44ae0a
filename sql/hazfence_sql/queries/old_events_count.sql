-- How many breaches and visits are over since before a moment.
SELECT (SELECT count(*) FROM hazfence.event
        WHERE started_at < %(before)s AND coalesce(ended_at, started_at) < %(before)s AND phase IN ('closed', 'retracted')),
       (SELECT count(*) FROM hazfence.visit
        WHERE started_at < %(before)s AND coalesce(ended_at, started_at) < %(before)s AND phase IN ('closed', 'retracted'))
