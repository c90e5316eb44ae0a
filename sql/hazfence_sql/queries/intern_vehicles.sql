-- Give new vehicles a number. Sorted, so that two workers doing this at once cannot wait for each other in a circle.
INSERT INTO hazfence.vehicle_code (vehicle)
SELECT v FROM unnest(%(vehicles)s::text[]) AS v
WHERE NOT EXISTS (SELECT 1 FROM hazfence.vehicle_code AS known WHERE known.vehicle = v)
ORDER BY v
ON CONFLICT (vehicle) DO NOTHING
