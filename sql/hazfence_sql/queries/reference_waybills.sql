-- Every waybill whose window ends after a moment.
SELECT number, plate, un_number, un_class, window_from, window_to, approved_at, withdrawn_at, goods, tank_id, driver_id,
       escort_id, quantity_t
FROM hazfence.waybill WHERE window_to > %(since)s;
