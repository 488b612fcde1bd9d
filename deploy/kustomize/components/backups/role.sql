-- The role that dumps, for the component `backups`; run as a superuser, as often as you like. It reads
-- all rows of all namespaces, past the policies, and writes nothing. Its password is set apart from
-- this file.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'backup') THEN
        CREATE ROLE backup LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE BYPASSRLS;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO backup', current_database());
END
$$;

GRANT pg_read_all_data TO backup;
