-- What the server is and how it is set; one row.
SELECT current_setting('server_version_num')::integer AS version_num,
       current_setting('server_version') AS version,
       (SELECT extversion FROM pg_extension WHERE extname = 'postgis') AS postgis,
       current_user::text AS login,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
       pg_is_in_recovery() AS standby,
       current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on' AS durable,
       current_setting('max_connections')::integer AS connections_max,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::integer AS connections_used,
       pg_database_size(current_database()) AS bytes,
       coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted,
       (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS data_directory,
       to_regclass('hazfence.schema_version') IS NOT NULL AS migrated
