-- Roles and schemas of one Backbone database; run in it as a superuser, as often as you like.
-- A schema has three roles: its owner, who migrates it and whom no service is; the service, which
-- sees one namespace at a time; and `<service>_across`, which sees all of them and which a service
-- becomes for the length of a transaction. The relay alone reads both outboxes. The migrations
-- grant the tables. PUBLIC may do nothing. Passwords are set apart from this file.

DO $$
DECLARE
    role_name text;
    service text;
    owned boolean;
BEGIN
    FOREACH role_name IN ARRAY
        ARRAY['registry', 'ledger', 'relay', 'registry_owner', 'ledger_owner']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format(
                'CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT', role_name
            );
        END IF;
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO registry, ledger, relay, registry_owner, ledger_owner',
        current_database()
    );
    FOREACH service IN ARRAY ARRAY['registry', 'ledger'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service || '_across') THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', service || '_across');
        END IF;
        -- Neither inherits it, so that it counts only where it is taken on.
        EXECUTE format('GRANT %I TO %I, %I', service || '_across', service, service || '_owner');
        EXECUTE format(
            'CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', service, service || '_owner'
        );
        -- In earlier releases a service owned its schema. What runs goes on until it is migrated.
        SELECT nspowner = service::regrole INTO owned FROM pg_namespace WHERE nspname = service;
        IF owned THEN
            EXECUTE format('REASSIGN OWNED BY %I TO %I', service, service || '_owner');
            EXECUTE format(
                'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %I',
                service, service
            );
            EXECUTE format('GRANT ALL ON ALL SEQUENCES IN SCHEMA %I TO %I', service, service);
            EXECUTE format('GRANT ALL ON ALL FUNCTIONS IN SCHEMA %I TO %I', service, service);
        END IF;
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', service);
        EXECUTE format(
            'GRANT USAGE ON SCHEMA %I TO %I, %I, relay', service, service, service || '_across'
        );
        -- PostgreSQL lets everybody execute new functions unless told otherwise.
        EXECUTE format(
            'ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC',
            service || '_owner'
        );
        EXECUTE format(
            'ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I GRANT EXECUTE ON FUNCTIONS TO %I, %I',
            service || '_owner', service, service, service || '_across'
        );
    END LOOP;
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
