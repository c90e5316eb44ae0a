SELECT hazfence.ensure_fix_day(day) FROM unnest(%(days)s::date[]) AS day ORDER BY day
