-- By how much a position may be wrong, kept with the fix, because late fixes are judged again from here. 0 where nobody
-- said, not NULL: a row with a NULL in it is longer than one with four bytes more, and most senders say nothing. A
-- constant default rewrites nothing: the days that are there are not touched.
ALTER TABLE hazfence.fix ADD COLUMN accuracy_m real NOT NULL DEFAULT 0;
COMMENT ON COLUMN hazfence.fix.accuracy_m IS 'By how much the position may be wrong, metres; 0: nobody said';

CREATE OR REPLACE VIEW hazfence.fix_map AS
SELECT ((f.stream::bigint & 1023) << 53) | ((f."offset" & 8589934591) << 20) | (f.item & 1048575) AS key,
       c.vehicle, f.time, f.speed_kmh, f.heading_deg, f.status, f.alarm,
       ST_SetSRID(ST_MakePoint(f.lon, f.lat), 4326)::geometry(Point, 4326) AS geom,
       nullif(f.accuracy_m, 0) AS accuracy_m
FROM hazfence.fix AS f
JOIN hazfence.vehicle_code AS c ON c.code = f.vehicle_code;
