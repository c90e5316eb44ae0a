-- Numbers of vehicles and their names: all, or those asked for.
SELECT code, vehicle FROM hazfence.vehicle_code
WHERE %(vehicles)s::text[] IS NULL OR vehicle = ANY (%(vehicles)s::text[])
ORDER BY code
