-- Whether any fix from a moment on is stored.
SELECT EXISTS (SELECT 1 FROM hazfence.fix WHERE time >= %(since)s::timestamptz)
