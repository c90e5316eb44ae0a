SELECT hazfence.ensure_fix_day(day, %(index_now)s) FROM unnest(%(days)s::date[]) AS day ORDER BY day
