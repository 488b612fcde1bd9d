-- A transaction sees the rows of its namespace. The search path is the service's schema, and the
-- roles are those of bootstrap.sql: the owner, who runs this; the service, of the schema's name;
-- and `<service>_across`, which sees all namespaces.
SET lock_timeout = '5s';

DO $owner$
BEGIN
    IF current_user = current_schema() THEN
        RAISE EXCEPTION 'the role % serves and may not own its tables: run bootstrap.sql, then '
            'migrate as the owner of the schema, %_owner', current_user, current_schema();
    END IF;
END
$owner$;

-- Has the service see and write of a table what is of its transaction's namespace, and nothing
-- where none is set; `rights` are those of the service on the table, none where it is reached by
-- another one: a partition. Every table with a column `namespace` is given to this.
CREATE FUNCTION isolate_namespaces(
    isolated regclass, rights text DEFAULT 'SELECT, INSERT, UPDATE, DELETE'
) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $function$
DECLARE
    service text := current_schema();
    across text := service || '_across';
BEGIN
    EXECUTE format(
        'ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', isolated
    );
    -- A setting that was set once in a session is '' afterwards, and not null.
    EXECUTE format(
        'CREATE POLICY one_namespace ON %s TO %I '
        'USING (namespace = NULLIF(current_setting(''backbone.namespace'', true), ''''))',
        isolated, service
    );
    EXECUTE format(
        'CREATE POLICY all_namespaces ON %s TO %I, %I USING (true)',
        isolated, current_user, across
    );
    EXECUTE format('REVOKE ALL ON %s FROM %I, %I', isolated, service, across);
    IF rights <> '' THEN
        EXECUTE format('GRANT %s ON %s TO %I, %I', rights, isolated, service, across);
    END IF;
END
$function$;

DO $isolated$
DECLARE
    service text := current_schema();
    partition regclass;
BEGIN
    PERFORM isolate_namespaces('events', 'SELECT, INSERT');
    FOR partition IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'events'::regclass LOOP
        PERFORM isolate_namespaces(partition, '');
    END LOOP;
    PERFORM isolate_namespaces('stream_heads', 'SELECT, INSERT, UPDATE');
    PERFORM isolate_namespaces('outbox_pending', 'SELECT, INSERT');
    PERFORM isolate_namespaces('outbox_parked', 'SELECT, DELETE');
    PERFORM isolate_namespaces('outbox_requests', 'SELECT, INSERT, UPDATE');
    PERFORM isolate_namespaces('outbox_republications', 'SELECT, INSERT, UPDATE');
    PERFORM isolate_namespaces('outbox_discarded', 'SELECT, INSERT');

    EXECUTE format('REVOKE ALL ON audit_checkpoints FROM %I', service);
    -- Who sees one namespace seals nothing: what it does not see would count as absent.
    EXECUTE format('GRANT SELECT ON audit_checkpoints TO %I', service);
    EXECUTE format('GRANT SELECT, INSERT ON audit_checkpoints TO %I', service || '_across');
    EXECUTE format(
        'GRANT USAGE, SELECT ON events_position_seq TO %I, %I', service, service || '_across'
    );
    -- What is missing is asked by the service.
    EXECUTE format('GRANT SELECT ON _yoyo_migration TO %I', service);
    EXECUTE format(
        'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA %I TO %I, %I',
        service, service, service || '_across'
    );

    -- The relay publishes what there is.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'relay') THEN
        CREATE POLICY relay ON events FOR SELECT TO relay USING (true);
        CREATE POLICY relay ON outbox_pending TO relay USING (true);
        CREATE POLICY relay ON outbox_parked TO relay USING (true);
    END IF;
END
$isolated$;

-- Months are made and dropped by the owner of the tables, for whoever may execute this.
CREATE OR REPLACE FUNCTION months_ensure(parent text, months integer) RETURNS SETOF text
LANGUAGE plpgsql
SECURITY DEFINER
SET lock_timeout = '2s'
SET search_path FROM CURRENT
AS $function$
DECLARE
    this_month timestamp := date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC');
    first_day timestamp;
    partition_name text;
BEGIN
    -- Replicas take turns; the lock ends with the transaction.
    PERFORM pg_advisory_xact_lock(hashtext('months_' || parent), hashtext(current_schema()));
    FOR ahead IN 0..months LOOP
        first_day := this_month + make_interval(months => ahead);
        partition_name := parent || '_' || to_char(first_day, 'YYYY_MM');
        CONTINUE WHEN to_regclass(partition_name) IS NOT NULL;
        BEGIN
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                partition_name,
                parent,
                first_day AT TIME ZONE 'UTC',
                (first_day + interval '1 month') AT TIME ZONE 'UTC'
            );
            -- Rows are reached by the parent's policies; by the partition's name there are none.
            PERFORM isolate_namespaces(partition_name::regclass, '');
            RETURN NEXT partition_name;
        EXCEPTION WHEN check_violation THEN
            RAISE WARNING 'the default partition holds rows of %', partition_name;
        END;
    END LOOP;
END
$function$;

DO $definers$
DECLARE
    signature text;
BEGIN
    FOREACH signature IN ARRAY ARRAY[
        'months_ensure(text, integer)',
        'months_drop(text, timestamptz)',
        'months_clear_default(text, text, timestamptz, integer)',
        'events_drop_sealed_month(timestamptz)',
        'events_clear_sealed_default(timestamptz, integer)',
        -- A position is nobody's; found in all events, it is found soon.
        'events_position_before(timestamptz)'
    ] LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER', signature);
        -- What is temporary is looked for last: nobody puts a table of theirs before ours.
        EXECUTE format(
            'ALTER FUNCTION %s SET search_path = %I, pg_temp', signature, current_schema()
        );
    END LOOP;
END
$definers$;
