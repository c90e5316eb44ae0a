-- Reports over millions of facts. What they count is the same; how: only the columns needed, plates normalised once a
-- vehicle and not once a fact, and vehicles counted in two steps of hashing instead of a sort.

-- As before, and without the vertical tab, which no escape stood for.
CREATE OR REPLACE FUNCTION hazfence.normal_plate(plate text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT translate(
        upper(normalize(plate, NFKC)),
        'АВЕКМНОРСТУХΑΒΕΖΗΙΚΜΝΟΡΤΥΧ'
        || U&'\0009\000A\000B\000C\000D\0020\00B7\2022\30FB.\3002-_\2010\2011\2012\2013\2014',
        'ABEKMHOPCTYXABEZHIKMNOPTYX'
    )
$$;

CREATE VIEW hazfence.said AS
SELECT event_id, 'visit' AS kind, severity, phase, vehicle, fence_id, fence_version, started_at, ended_at, detail
FROM hazfence.visit
UNION ALL
SELECT event_id, kind, severity, phase, vehicle, fence_id, fence_version, started_at, ended_at, detail
FROM hazfence.event;
COMMENT ON VIEW hazfence.said IS 'Every visit and breach once, latest revision, as stored';

-- Sorted by the bytes of a plate and given out as text, so that facts, of which there may be millions, are not sorted
-- to meet it but hashed.
CREATE OR REPLACE VIEW hazfence.vehicle_company AS
SELECT plate, company_id, valid_from, least(valid_to, lead(valid_from) OVER later) AS valid_to
FROM (SELECT hazfence.normal_plate(plate) AS plate, company_id, valid_from, valid_to, key FROM hazfence.vehicle) AS v
WINDOW later AS (PARTITION BY plate COLLATE "C" ORDER BY valid_from, key);

CREATE OR REPLACE VIEW hazfence.fact AS
SELECT e.event_id, e.kind, e.severity, e.phase, e.phase <> 'retracted' AS stands, e.vehicle,
       v.company_id, c.name AS company_name, e.fence_id, e.fence_version, f.name AS fence_name,
       coalesce(f.kind, e.detail ->> 'fence_kind') AS fence_kind,
       CASE WHEN coalesce(f.kind, e.detail ->> 'fence_kind') = 'checkpoint' THEN e.fence_id
            ELSE e.detail ->> 'nearest_checkpoint' END AS checkpoint_id,
       e.started_at, e.ended_at, e.started_at AT TIME ZONE hazfence.time_zone() AS local_start,
       extract(epoch FROM e.ended_at - e.started_at)::double precision AS lasted_s, e.detail
FROM hazfence.said AS e
LEFT JOIN hazfence.vehicle_company AS v
    ON v.plate = hazfence.normal_plate(e.vehicle) AND e.started_at >= v.valid_from
    AND (v.valid_to IS NULL OR e.started_at < v.valid_to)
LEFT JOIN (SELECT DISTINCT ON (id) id, name FROM hazfence.company ORDER BY id, valid_from DESC) AS c
    ON c.id = v.company_id
LEFT JOIN (SELECT DISTINCT ON (id) id, name, kind FROM hazfence.fence ORDER BY id, version DESC) AS f
    ON f.id = e.fence_id;

DROP FUNCTION hazfence.report_key(hazfence.fact, text);
-- STABLE, as to_char is: declared IMMUTABLE it would be called for every fact instead of becoming part of the query.
CREATE FUNCTION hazfence.report_key(
    dimension text, kind text, vehicle text, company_id text, fence_id text, checkpoint_id text, local_start timestamp
) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT CASE dimension
        WHEN 'all' THEN 'all'
        WHEN 'kind' THEN kind
        WHEN 'vehicle' THEN vehicle
        WHEN 'company' THEN coalesce(company_id, '')
        WHEN 'fence' THEN coalesce(fence_id, '')
        WHEN 'checkpoint' THEN checkpoint_id
        WHEN 'hour' THEN to_char(local_start, 'YYYY-MM-DD HH24')
        WHEN 'day' THEN to_char(local_start, 'YYYY-MM-DD')
        WHEN 'month' THEN to_char(local_start, 'YYYY-MM')
        WHEN 'year' THEN to_char(local_start, 'YYYY')
    END
$$;

CREATE OR REPLACE FUNCTION hazfence.report(
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
    SET plan_cache_mode = 'force_custom_plan'
AS $$
DECLARE
    known text[] := ARRAY['all', 'kind', 'vehicle', 'company', 'fence', 'checkpoint', 'hour', 'day', 'month', 'year'];
    zone text := hazfence.time_zone();
    companies boolean := by_1 = 'company' OR coalesce(by_2 = 'company', false) OR only_companies IS NOT NULL;
BEGIN
    IF by_1 IS NULL OR by_1 <> ALL (known) OR by_2 <> ALL (known) THEN
        RAISE EXCEPTION 'there is no report by % and %', coalesce(by_1, 'null'), coalesce(by_2, 'null')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'By: ' || array_to_string(known, ', ');
    END IF;
    RETURN QUERY
    WITH told AS MATERIALIZED (
        SELECT e.kind, e.severity, e.phase, e.vehicle, e.fence_id, e.started_at,
               extract(epoch FROM e.ended_at - e.started_at)::double precision AS lasted_s,
               f.name AS fence_name, coalesce(f.kind, e.detail ->> 'fence_kind') AS fence_kind,
               e.detail ->> 'nearest_checkpoint' AS nearest
        FROM hazfence.said AS e
        LEFT JOIN (SELECT DISTINCT ON (fence.id) fence.id, fence.name, fence.kind FROM hazfence.fence
                   ORDER BY fence.id, fence.version DESC) AS f
            ON f.id = e.fence_id
        WHERE e.started_at >= since AND e.started_at < until
          AND (only_kinds IS NULL OR e.kind = ANY (only_kinds))
          AND (only_vehicles IS NULL OR e.vehicle = ANY (only_vehicles))
          AND (only_fences IS NULL OR e.fence_id = ANY (only_fences))
    ), names AS MATERIALIZED (
        SELECT n.vehicle, hazfence.normal_plate(n.vehicle) AS plate
        FROM (SELECT DISTINCT t.vehicle FROM told AS t WHERE companies) AS n
    ), owners AS MATERIALIZED (
        SELECT n.vehicle, v.company_id, c.name, v.valid_from, v.valid_to
        FROM names AS n
        JOIN hazfence.vehicle_company AS v ON v.plate = n.plate
        LEFT JOIN (SELECT DISTINCT ON (company.id) company.id, company.name FROM hazfence.company
                   ORDER BY company.id, company.valid_from DESC) AS c
            ON c.id = v.company_id
    ), keyed AS (
        SELECT hazfence.report_key(
                   by_1, t.kind, t.vehicle, o.company_id, t.fence_id, p.checkpoint_id, t.started_at AT TIME ZONE zone
               ) AS key_1,
               hazfence.report_key(
                   by_2, t.kind, t.vehicle, o.company_id, t.fence_id, p.checkpoint_id, t.started_at AT TIME ZONE zone
               ) AS key_2,
               CASE by_1 WHEN 'company' THEN o.name WHEN 'fence' THEN t.fence_name
                   WHEN 'checkpoint' THEN CASE WHEN t.fence_id = p.checkpoint_id THEN t.fence_name END END AS label,
               t.kind, t.severity, t.phase, t.phase <> 'retracted' AS stands, t.vehicle, t.lasted_s, t.started_at
        FROM told AS t
        LEFT JOIN owners AS o
            ON companies AND o.vehicle = t.vehicle AND t.started_at >= o.valid_from
            AND (o.valid_to IS NULL OR t.started_at < o.valid_to)
        CROSS JOIN LATERAL (
            SELECT CASE WHEN t.fence_kind = 'checkpoint' THEN t.fence_id ELSE t.nearest END AS checkpoint_id
        ) AS p
        WHERE only_companies IS NULL OR o.company_id = ANY (only_companies)
    ), by_vehicle AS (
        SELECT k.key_1, k.key_2, k.vehicle, max(k.label) AS label,
               count(*) FILTER (WHERE k.stands) AS standing,
               count(*) FILTER (WHERE k.stands AND k.kind = 'visit') AS visits,
               sum(k.lasted_s) FILTER (WHERE k.stands AND k.kind = 'visit') AS inside_s,
               count(k.lasted_s) FILTER (WHERE k.stands AND k.kind = 'visit') AS stays,
               count(*) FILTER (WHERE k.stands AND k.kind <> 'visit' AND k.severity = 'breach') AS breaches,
               count(*) FILTER (WHERE k.stands AND k.kind <> 'visit' AND k.severity = 'warning') AS warnings,
               count(*) FILTER (WHERE k.stands AND k.kind <> 'visit' AND k.severity = 'info') AS notes,
               count(*) FILTER (WHERE k.phase IN ('opened', 'amended')) AS going_on,
               count(*) FILTER (WHERE NOT k.stands) AS retracted,
               min(k.started_at) FILTER (WHERE k.stands) AS first_at,
               max(k.started_at) FILTER (WHERE k.stands) AS last_at
        FROM keyed AS k
        WHERE k.key_1 IS NOT NULL AND (by_2 IS NULL OR k.key_2 IS NOT NULL)
        GROUP BY k.key_1, k.key_2, k.vehicle
    )
    SELECT b.key_1, b.key_2, max(b.label), sum(b.visits)::bigint, coalesce(sum(b.inside_s), 0),
           sum(b.inside_s) / nullif(sum(b.stays), 0)::double precision,
           count(*) FILTER (WHERE b.standing > 0 AND b.vehicle <> ''),
           sum(b.breaches)::bigint, sum(b.warnings)::bigint, sum(b.notes)::bigint, sum(b.going_on)::bigint,
           sum(b.retracted)::bigint, min(b.first_at), max(b.last_at)
    FROM by_vehicle AS b
    GROUP BY b.key_1, b.key_2
    ORDER BY b.key_1 COLLATE "C", b.key_2 COLLATE "C";
END
$$;

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['hazfence_read', 'hazfence_write'] LOOP
        IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role_name)
                AND has_schema_privilege(role_name, 'hazfence', 'USAGE') THEN
            EXECUTE format('GRANT SELECT ON hazfence.said TO %I', role_name);
        END IF;
    END LOOP;
END
$$;
