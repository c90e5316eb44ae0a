-- Reports over visits and breaches. hazfence.fact is every visit and breach once, with the company, the fence and the
-- local time it belongs to; hazfence.report() counts facts by one or two dimensions; report_by_* are the whole history
-- by each dimension, for programs that can only read views. What was retracted is counted beside, never among.
-- Local time is that of the setting hazfence.time_zone, Asia/Shanghai where nobody set it:
--   SET hazfence.time_zone = 'Europe/Berlin';  ALTER DATABASE ... SET hazfence.time_zone = 'Europe/Berlin';

CREATE FUNCTION hazfence.time_zone() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT coalesce(nullif(current_setting('hazfence.time_zone', true), ''), 'Asia/Shanghai')
$$;

-- A plate as it is compared: half-width capitals without spaces, dots and dashes; letters of other alphabets that look
-- like Latin ones are taken for these. The same as hazfence.reference.normal_plate, which a test holds equal.
CREATE FUNCTION hazfence.normal_plate(plate text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT translate(
        upper(normalize(plate, NFKC)),
        'АВЕКМНОРСТУХΑΒΕΖΗΙΚΜΝΟΡΤΥΧ' || U&'\00B7\2022\30FB.\3002-_\2010\2011\2012\2013\2014' || E' \t\n\r\f\v',
        'ABEKMHOPCTYXABEZHIKMNOPTYX'
    )
$$;

-- Which company a vehicle belonged to from when to when. Two spellings of a plate are one vehicle, and the later row
-- ends the earlier one: no fact is counted for two companies.
CREATE VIEW hazfence.vehicle_company AS
SELECT plate, company_id, valid_from, least(valid_to, lead(valid_from) OVER later) AS valid_to
FROM (SELECT hazfence.normal_plate(plate) AS plate, company_id, valid_from, valid_to, key FROM hazfence.vehicle) AS v
WINDOW later AS (PARTITION BY plate ORDER BY valid_from, key);
COMMENT ON VIEW hazfence.vehicle_company IS 'Company of each vehicle on file, by normal plate and time';

CREATE VIEW hazfence.fact AS
SELECT e.event_id, e.kind, e.severity, e.phase, e.phase <> 'retracted' AS stands, e.vehicle,
       v.company_id, c.name AS company_name, e.fence_id, e.fence_version, f.name AS fence_name,
       coalesce(f.kind, e.detail ->> 'fence_kind') AS fence_kind,
       CASE WHEN coalesce(f.kind, e.detail ->> 'fence_kind') = 'checkpoint' THEN e.fence_id
            ELSE e.detail ->> 'nearest_checkpoint' END AS checkpoint_id,
       e.started_at, e.ended_at, e.started_at AT TIME ZONE hazfence.time_zone() AS local_start,
       extract(epoch FROM e.ended_at - e.started_at)::double precision AS lasted_s, e.detail
FROM (
    SELECT event_id, 'visit' AS kind, severity, phase, vehicle, fence_id, fence_version, started_at, ended_at, detail
    FROM hazfence.visit
    UNION ALL
    SELECT event_id, kind, severity, phase, vehicle, fence_id, fence_version, started_at, ended_at, detail
    FROM hazfence.event
) AS e
LEFT JOIN hazfence.vehicle_company AS v
    ON v.plate = hazfence.normal_plate(e.vehicle) AND e.started_at >= v.valid_from
    AND (v.valid_to IS NULL OR e.started_at < v.valid_to)
LEFT JOIN (SELECT DISTINCT ON (id) id, name FROM hazfence.company ORDER BY id, valid_from DESC) AS c
    ON c.id = v.company_id
LEFT JOIN (SELECT DISTINCT ON (id) id, name, kind FROM hazfence.fence ORDER BY id, version DESC) AS f
    ON f.id = e.fence_id;
COMMENT ON VIEW hazfence.fact IS
    'Every visit and breach once, latest revision, with company, fence and local time; stands is false for retracted';

-- The key of a fact in a dimension; null: it has no place there (a fact without checkpoint, by checkpoint).
CREATE FUNCTION hazfence.report_key(f hazfence.fact, dimension text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE dimension
        WHEN 'all' THEN 'all'
        WHEN 'kind' THEN f.kind
        WHEN 'vehicle' THEN f.vehicle
        WHEN 'company' THEN coalesce(f.company_id, '')
        WHEN 'fence' THEN coalesce(f.fence_id, '')
        WHEN 'checkpoint' THEN f.checkpoint_id
        WHEN 'hour' THEN to_char(f.local_start, 'YYYY-MM-DD HH24')
        WHEN 'day' THEN to_char(f.local_start, 'YYYY-MM-DD')
        WHEN 'month' THEN to_char(f.local_start, 'YYYY-MM')
        WHEN 'year' THEN to_char(f.local_start, 'YYYY')
    END
$$;

-- Count facts that begin in [since, until) by one dimension, or by two; the other parameters leave only some in.
CREATE FUNCTION hazfence.report(
    by_1 text, by_2 text DEFAULT NULL,
    since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity',
    only_kinds text[] DEFAULT NULL, only_vehicles text[] DEFAULT NULL, only_companies text[] DEFAULT NULL,
    only_fences text[] DEFAULT NULL
) RETURNS TABLE (
    key_1 text, key_2 text, label text, visits bigint, inside_s double precision, mean_stay_s double precision,
    vehicles bigint, breaches bigint, warnings bigint, notes bigint, going_on bigint, retracted bigint,
    first_at timestamptz, last_at timestamptz
)
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    known text[] := ARRAY['all', 'kind', 'vehicle', 'company', 'fence', 'checkpoint', 'hour', 'day', 'month', 'year'];
BEGIN
    IF by_1 IS NULL OR by_1 <> ALL (known) OR by_2 <> ALL (known) THEN
        RAISE EXCEPTION 'there is no report by % and %', coalesce(by_1, 'null'), coalesce(by_2, 'null')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'By: ' || array_to_string(known, ', ');
    END IF;
    RETURN QUERY
    SELECT k.key_1, k.key_2,
           max(CASE by_1 WHEN 'company' THEN f.company_name WHEN 'fence' THEN f.fence_name
               WHEN 'checkpoint' THEN CASE WHEN f.fence_id = f.checkpoint_id THEN f.fence_name END END),
           count(*) FILTER (WHERE f.stands AND f.kind = 'visit'),
           coalesce(sum(f.lasted_s) FILTER (WHERE f.stands AND f.kind = 'visit'), 0),
           avg(f.lasted_s) FILTER (WHERE f.stands AND f.kind = 'visit'),
           count(DISTINCT nullif(f.vehicle, '')) FILTER (WHERE f.stands),
           count(*) FILTER (WHERE f.stands AND f.kind <> 'visit' AND f.severity = 'breach'),
           count(*) FILTER (WHERE f.stands AND f.kind <> 'visit' AND f.severity = 'warning'),
           count(*) FILTER (WHERE f.stands AND f.kind <> 'visit' AND f.severity = 'info'),
           count(*) FILTER (WHERE f.phase IN ('opened', 'amended')),
           count(*) FILTER (WHERE NOT f.stands),
           min(f.started_at) FILTER (WHERE f.stands), max(f.started_at) FILTER (WHERE f.stands)
    FROM hazfence.fact AS f
    CROSS JOIN LATERAL (
        SELECT hazfence.report_key(f, by_1) AS key_1, hazfence.report_key(f, by_2) AS key_2
    ) AS k
    WHERE f.started_at >= since AND f.started_at < until
      AND k.key_1 IS NOT NULL AND (by_2 IS NULL OR k.key_2 IS NOT NULL)
      AND (only_kinds IS NULL OR f.kind = ANY (only_kinds))
      AND (only_vehicles IS NULL OR f.vehicle = ANY (only_vehicles))
      AND (only_companies IS NULL OR f.company_id = ANY (only_companies))
      AND (only_fences IS NULL OR f.fence_id = ANY (only_fences))
    GROUP BY k.key_1, k.key_2
    ORDER BY k.key_1 COLLATE "C", k.key_2 COLLATE "C";
END
$$;

CREATE VIEW hazfence.report_by_kind AS
SELECT key_1 AS kind, visits, inside_s, mean_stay_s, vehicles, breaches, warnings, notes, going_on, retracted, first_at,
       last_at
FROM hazfence.report('kind');
CREATE VIEW hazfence.report_by_vehicle AS
SELECT key_1 AS vehicle, visits, inside_s, mean_stay_s, breaches, warnings, notes, going_on, retracted, first_at, last_at
FROM hazfence.report('vehicle');
CREATE VIEW hazfence.report_by_company AS
SELECT key_1 AS company_id, label AS company, visits, inside_s, mean_stay_s, vehicles, breaches, warnings, notes,
       going_on, retracted, first_at, last_at
FROM hazfence.report('company');
CREATE VIEW hazfence.report_by_fence AS
SELECT key_1 AS fence_id, label AS fence, visits, inside_s, mean_stay_s, vehicles, breaches, warnings, notes, going_on,
       retracted, first_at, last_at
FROM hazfence.report('fence');
CREATE VIEW hazfence.report_by_checkpoint AS
SELECT key_1 AS checkpoint_id, label AS checkpoint, visits, inside_s, mean_stay_s, vehicles, breaches, warnings, notes,
       going_on, retracted, first_at, last_at
FROM hazfence.report('checkpoint');
CREATE VIEW hazfence.report_by_day AS
SELECT key_1::date AS day, visits, inside_s, mean_stay_s, vehicles, breaches, warnings, notes, going_on, retracted
FROM hazfence.report('day');
CREATE VIEW hazfence.report_by_month AS
SELECT key_1 AS month, visits, inside_s, mean_stay_s, vehicles, breaches, warnings, notes, going_on, retracted
FROM hazfence.report('month');
CREATE VIEW hazfence.report_by_year AS
SELECT key_1 AS year, visits, inside_s, mean_stay_s, vehicles, breaches, warnings, notes, going_on, retracted
FROM hazfence.report('year');

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['hazfence_read', 'hazfence_write'] LOOP
        IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role_name)
                AND has_schema_privilege(role_name, 'hazfence', 'USAGE') THEN
            EXECUTE format(
                'GRANT SELECT ON hazfence.vehicle_company, hazfence.fact, hazfence.report_by_kind, '
                'hazfence.report_by_vehicle, hazfence.report_by_company, hazfence.report_by_fence, '
                'hazfence.report_by_checkpoint, hazfence.report_by_day, hazfence.report_by_month, '
                'hazfence.report_by_year TO %I', role_name);
        END IF;
    END LOOP;
END
$$;
