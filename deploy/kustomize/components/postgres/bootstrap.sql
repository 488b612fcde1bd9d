-- Roles and schemas of one Backbone database; run in it as a superuser, as often as you like.
-- Each schema has one writer, its owner. The relay alone reads both outboxes; the migrations grant
-- it the tables. PUBLIC may do nothing. Passwords are set apart from this file.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['registry', 'ledger', 'relay'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format(
                'CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT', role_name
            );
        END IF;
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO registry, ledger, relay', current_database());
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;

CREATE SCHEMA IF NOT EXISTS registry AUTHORIZATION registry;
CREATE SCHEMA IF NOT EXISTS ledger AUTHORIZATION ledger;
REVOKE ALL ON SCHEMA registry, ledger FROM PUBLIC;
GRANT USAGE ON SCHEMA registry, ledger TO relay;

-- PostgreSQL lets everybody execute new functions unless told otherwise.
ALTER DEFAULT PRIVILEGES FOR ROLE registry, ledger REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
