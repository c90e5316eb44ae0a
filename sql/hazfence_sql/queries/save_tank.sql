-- Put rows of the file into tank; a row of the same id and beginning is replaced. Given: rows as a JSON array.
INSERT INTO hazfence.tank (id, name, audit, papers, valid_from, valid_to)
SELECT id, name, audit, papers, valid_from, valid_to
FROM jsonb_to_recordset(%(rows)s::jsonb) AS given (
    id text, name text, category text, audit text, papers jsonb, valid_from timestamptz, valid_to timestamptz
)
ORDER BY valid_from
ON CONFLICT (id, valid_from) DO UPDATE SET
    name = excluded.name, audit = excluded.audit, papers = excluded.papers, valid_to = excluded.valid_to
