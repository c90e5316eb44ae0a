-- What one writes first in PostGIS: a trigger that looks every new fix up and writes entries and exits.
CREATE TABLE fence (id text PRIMARY KEY, geom geometry NOT NULL);
CREATE INDEX ON fence USING gist (geom);
CREATE TABLE fix (vehicle text NOT NULL, time_us bigint NOT NULL, lon float8 NOT NULL, lat float8 NOT NULL);
CREATE TABLE presence (vehicle text PRIMARY KEY, fences text[] NOT NULL);
CREATE TABLE told (vehicle text NOT NULL, what text NOT NULL, fence text NOT NULL, time_us bigint NOT NULL);

CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    here text[] := ARRAY(SELECT id FROM fence WHERE ST_Covers(geom, ST_Point(NEW.lon, NEW.lat)) ORDER BY id);
    before text[] := COALESCE((SELECT fences FROM presence WHERE vehicle = NEW.vehicle), '{}');
BEGIN
    IF here IS DISTINCT FROM before THEN
        INSERT INTO told
        SELECT NEW.vehicle, 'enter', f, NEW.time_us FROM unnest(here) f WHERE f <> ALL (before)
        UNION ALL
        SELECT NEW.vehicle, 'exit', f, NEW.time_us FROM unnest(before) f WHERE f <> ALL (here);
        INSERT INTO presence VALUES (NEW.vehicle, here)
        ON CONFLICT (vehicle) DO UPDATE SET fences = EXCLUDED.fences;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER see AFTER INSERT ON fix FOR EACH ROW EXECUTE FUNCTION see();
