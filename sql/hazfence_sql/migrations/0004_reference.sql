-- What is on file (电子档案): companies, people, tanks, vehicles, each with its audit state and the expiry of its papers,
-- and the waybills (电子运单). A row of a file says how something stood from valid_from to valid_to; a change ends the
-- row and begins a new one, so that last week can be judged by last week's file. Whoever keeps the file writes here;
-- the engine only reads, and is woken by NOTIFY hazfence_reference.


CREATE TABLE hazfence.company (
    key integer GENERATED ALWAYS AS IDENTITY,
    id text NOT NULL,
    name text DEFAULT '' NOT NULL,
    audit text NOT NULL,
    papers jsonb DEFAULT '{}' NOT NULL,      -- name of the paper: moment of expiry, ISO 8601 with offset
    valid_from timestamptz DEFAULT now() NOT NULL,
    valid_to timestamptz,
    CONSTRAINT company_pkey PRIMARY KEY (id, valid_from),
    CONSTRAINT company_key UNIQUE (key),
    CONSTRAINT company_audit_known CHECK (audit IN ('approved', 'pending', 'rejected')),
    CONSTRAINT company_in_order CHECK (valid_to > valid_from),
    CONSTRAINT company_papers_object CHECK (jsonb_typeof(papers) = 'object')
);
COMMENT ON TABLE hazfence.company IS 'Companies on file, one row a state; valid_to is null for the state that holds';
CREATE UNIQUE INDEX company_holds ON hazfence.company (id) WHERE valid_to IS NULL;

CREATE TABLE hazfence.person (
    key integer GENERATED ALWAYS AS IDENTITY,
    id text NOT NULL,
    name text DEFAULT '' NOT NULL,
    company_id text,
    role text DEFAULT '' NOT NULL,
    audit text NOT NULL,
    papers jsonb DEFAULT '{}' NOT NULL,      -- name of the paper: moment of expiry, ISO 8601 with offset
    valid_from timestamptz DEFAULT now() NOT NULL,
    valid_to timestamptz,
    CONSTRAINT person_pkey PRIMARY KEY (id, valid_from),
    CONSTRAINT person_key UNIQUE (key),
    CONSTRAINT person_audit_known CHECK (audit IN ('approved', 'pending', 'rejected')),
    CONSTRAINT person_in_order CHECK (valid_to > valid_from),
    CONSTRAINT person_papers_object CHECK (jsonb_typeof(papers) = 'object')
);
COMMENT ON TABLE hazfence.person IS 'Drivers, escorts and other staff on file, one row a state; valid_to is null for the state that holds';
CREATE UNIQUE INDEX person_holds ON hazfence.person (id) WHERE valid_to IS NULL;

CREATE TABLE hazfence.tank (
    key integer GENERATED ALWAYS AS IDENTITY,
    id text NOT NULL,
    name text DEFAULT '' NOT NULL,
    company_id text,
    audit text NOT NULL,
    papers jsonb DEFAULT '{}' NOT NULL,      -- name of the paper: moment of expiry, ISO 8601 with offset
    valid_from timestamptz DEFAULT now() NOT NULL,
    valid_to timestamptz,
    CONSTRAINT tank_pkey PRIMARY KEY (id, valid_from),
    CONSTRAINT tank_key UNIQUE (key),
    CONSTRAINT tank_audit_known CHECK (audit IN ('approved', 'pending', 'rejected')),
    CONSTRAINT tank_in_order CHECK (valid_to > valid_from),
    CONSTRAINT tank_papers_object CHECK (jsonb_typeof(papers) = 'object')
);
COMMENT ON TABLE hazfence.tank IS 'Tanks on file, one row a state; valid_to is null for the state that holds';
CREATE UNIQUE INDEX tank_holds ON hazfence.tank (id) WHERE valid_to IS NULL;

CREATE TABLE hazfence.vehicle (
    key integer GENERATED ALWAYS AS IDENTITY,
    plate text NOT NULL,
    name text DEFAULT '' NOT NULL,
    category text DEFAULT '' NOT NULL,   -- class of vehicle, for rules that differ by class
    company_id text,
    audit text NOT NULL,
    papers jsonb DEFAULT '{}' NOT NULL,      -- name of the paper: moment of expiry, ISO 8601 with offset
    valid_from timestamptz DEFAULT now() NOT NULL,
    valid_to timestamptz,
    CONSTRAINT vehicle_pkey PRIMARY KEY (plate, valid_from),
    CONSTRAINT vehicle_key UNIQUE (key),
    CONSTRAINT vehicle_audit_known CHECK (audit IN ('approved', 'pending', 'rejected')),
    CONSTRAINT vehicle_in_order CHECK (valid_to > valid_from),
    CONSTRAINT vehicle_papers_object CHECK (jsonb_typeof(papers) = 'object')
);
COMMENT ON TABLE hazfence.vehicle IS 'Vehicles on file, one row a state; valid_to is null for the state that holds';
CREATE UNIQUE INDEX vehicle_holds ON hazfence.vehicle (plate) WHERE valid_to IS NULL;

CREATE TABLE hazfence.waybill (
    key integer GENERATED ALWAYS AS IDENTITY,
    number text NOT NULL,
    plate text NOT NULL,
    un_number integer NOT NULL,
    un_class text NOT NULL,
    goods text DEFAULT '' NOT NULL,
    tank_id text,
    driver_id text,
    escort_id text,
    quantity_t double precision,
    window_from timestamptz NOT NULL,
    window_to timestamptz NOT NULL,
    approved_at timestamptz,
    withdrawn_at timestamptz,
    CONSTRAINT waybill_pkey PRIMARY KEY (number),
    CONSTRAINT waybill_key UNIQUE (key),
    CONSTRAINT waybill_window_in_order CHECK (window_to > window_from),
    CONSTRAINT waybill_un_number_known CHECK (un_number BETWEEN 4 AND 3599),
    CONSTRAINT waybill_quantity_positive CHECK (quantity_t > 0)
);
COMMENT ON TABLE hazfence.waybill IS 'Electronic waybills; valid from approval (at the earliest window_from) to window_to';
CREATE INDEX waybill_plate_window ON hazfence.waybill (plate, window_from);
CREATE INDEX waybill_window_to ON hazfence.waybill (window_to);

-- One row that counts the changes: whoever missed a NOTIFY sees by seq that there was one.
CREATE TABLE hazfence.reference_change (
    one boolean DEFAULT true NOT NULL,
    seq bigint DEFAULT 0 NOT NULL,
    CONSTRAINT reference_change_pkey PRIMARY KEY (one),
    CONSTRAINT reference_change_one CHECK (one)
);
COMMENT ON TABLE hazfence.reference_change IS 'Counts the changes of the file and of the waybills';
INSERT INTO hazfence.reference_change DEFAULT VALUES;

CREATE FUNCTION hazfence.reference_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    counted bigint;
BEGIN
    UPDATE hazfence.reference_change SET seq = seq + 1 RETURNING seq INTO counted;
    PERFORM pg_notify('hazfence_reference', counted::text);
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION hazfence.reference_changed() FROM PUBLIC;

CREATE TRIGGER company_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON hazfence.company
    FOR EACH STATEMENT EXECUTE FUNCTION hazfence.reference_changed();
CREATE TRIGGER person_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON hazfence.person
    FOR EACH STATEMENT EXECUTE FUNCTION hazfence.reference_changed();
CREATE TRIGGER tank_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON hazfence.tank
    FOR EACH STATEMENT EXECUTE FUNCTION hazfence.reference_changed();
CREATE TRIGGER vehicle_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON hazfence.vehicle
    FOR EACH STATEMENT EXECUTE FUNCTION hazfence.reference_changed();
CREATE TRIGGER waybill_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON hazfence.waybill
    FOR EACH STATEMENT EXECUTE FUNCTION hazfence.reference_changed();

DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'hazfence_read')
            AND has_schema_privilege('hazfence_read', 'hazfence', 'USAGE') THEN
        GRANT SELECT ON hazfence.company, hazfence.person, hazfence.tank, hazfence.vehicle, hazfence.waybill,
                        hazfence.reference_change TO hazfence_read;
    END IF;
    -- A worker reads the file; it is not his to change.
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'hazfence_write')
            AND has_schema_privilege('hazfence_write', 'hazfence', 'USAGE') THEN
        GRANT SELECT ON hazfence.company, hazfence.person, hazfence.tank, hazfence.vehicle, hazfence.waybill,
                        hazfence.reference_change TO hazfence_write;
    END IF;
END
$$;
