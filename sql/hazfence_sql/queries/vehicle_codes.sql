SELECT vehicle, code FROM hazfence.vehicle_code WHERE vehicle = ANY(%(vehicles)s::text[])
