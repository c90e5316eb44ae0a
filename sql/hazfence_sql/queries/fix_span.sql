-- The first and the last stored fix of a vehicle; null and null: there is none.
SELECT min(f.time), max(f.time)
FROM hazfence.vehicle_code AS c
LEFT JOIN hazfence.fix AS f ON f.vehicle_code = c.code
WHERE c.vehicle = %(vehicle)s
