-- Put waybills into the table; one of the same number is replaced. Given: rows as a JSON array.
INSERT INTO hazfence.waybill (
    number, plate, un_number, un_class, goods, tank_id, driver_id, escort_id, quantity_t, window_from, window_to,
    approved_at, withdrawn_at
)
SELECT number, plate, un_number, un_class, goods, tank_id, driver_id, escort_id, quantity_t, window_from, window_to,
       approved_at, withdrawn_at
FROM jsonb_to_recordset(%(rows)s::jsonb) AS given (
    number text, plate text, un_number integer, un_class text, goods text, tank_id text, driver_id text,
    escort_id text, quantity_t double precision, window_from timestamptz, window_to timestamptz,
    approved_at timestamptz, withdrawn_at timestamptz
)
ON CONFLICT (number) DO UPDATE SET
    plate = excluded.plate, un_number = excluded.un_number, un_class = excluded.un_class, goods = excluded.goods,
    tank_id = excluded.tank_id, driver_id = excluded.driver_id, escort_id = excluded.escort_id,
    quantity_t = excluded.quantity_t, window_from = excluded.window_from, window_to = excluded.window_to,
    approved_at = excluded.approved_at, withdrawn_at = excluded.withdrawn_at
