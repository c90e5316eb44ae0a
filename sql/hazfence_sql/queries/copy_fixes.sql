-- The columns in the order of the rows that hazfence.postgis builds.
COPY hazfence.fix (time, lon, lat, "offset", status, alarm, vehicle_code, stream, item, accuracy_m,
                   speed_kmh, heading_deg)
FROM STDIN (FORMAT binary)
