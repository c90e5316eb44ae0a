-- Stored fixes of a span of time as binary rows of one length (no NULL in them), in the order of time. Fixes of one
-- moment are told apart by where they came from, so the order is the same on every run.
COPY (
    SELECT time, lon, lat, "offset", status, alarm, vehicle_code, item, accuracy_m,
           coalesce(speed_kmh, 'NaN'::real), coalesce(heading_deg, 'NaN'::real)
    FROM hazfence.fix
    WHERE time >= %(since)s::timestamptz AND time < %(until)s::timestamptz
      AND (%(codes)s::integer[] IS NULL OR vehicle_code = ANY (%(codes)s::integer[]))
    ORDER BY time, vehicle_code, stream, "offset", item
) TO STDOUT (FORMAT binary)
