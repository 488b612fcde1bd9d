-- Months of any table that is partitioned by a time and has a default partition `<table>_default`.
-- The search path is the service's schema.
SET lock_timeout = '5s';

-- Makes the partitions of this month and `months` more, and returns the new ones. Rows that fell
-- into the default partition keep their month there: moving them is an operator's choice.
CREATE FUNCTION months_ensure(parent text, months integer) RETURNS SETOF text
LANGUAGE plpgsql
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
            RETURN NEXT partition_name;
        EXCEPTION WHEN check_violation THEN
            RAISE WARNING 'the default partition holds rows of %', partition_name;
        END;
    END LOOP;
END
$function$;

-- Drops the oldest month that ended before `instant`; returns its name, or null when there is none.
-- Writers wait while this waits for its locks, so that it gives up soon: lock_not_available means
-- that it should be tried again.
CREATE FUNCTION months_drop(parent text, instant timestamptz) RETURNS text
LANGUAGE plpgsql
SET lock_timeout = '250ms'
SET timezone = 'UTC'
SET search_path FROM CURRENT
AS $function$
DECLARE
    month_name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('months_' || parent), hashtext(current_schema()));
    SELECT bounded.name INTO month_name
    FROM pg_inherits
    JOIN pg_class ON pg_class.oid = inhrelid
    CROSS JOIN LATERAL (
        -- The default partition has no end.
        SELECT inhrelid::regclass::text AS name, substring(
            pg_get_expr(relpartbound, pg_class.oid) FROM $bound$TO \('([^']+)'\)$bound$
        )::timestamptz AS ends
    ) AS bounded
    -- Nobody writes into a month that is over.
    WHERE inhparent = parent::regclass
        AND bounded.ends <= least(instant, clock_timestamp() - interval '1 day')
    ORDER BY bounded.ends
    LIMIT 1;
    IF month_name IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %s', parent, month_name);
        EXECUTE format('DROP TABLE %s', month_name);
    END IF;
    RETURN month_name;
END
$function$;

-- Deletes at most `most` rows of whole months before `instant` from the default partition, where
-- they fell when their month was not made; `instant_column` tells their time. Returns how many.
CREATE FUNCTION months_clear_default(
    parent text, instant_column text, instant timestamptz, most integer
) RETURNS bigint
LANGUAGE plpgsql
SET lock_timeout = '250ms'
SET timezone = 'UTC'
SET search_path FROM CURRENT
AS $function$
DECLARE
    deleted bigint;
BEGIN
    EXECUTE format(
        'DELETE FROM %1$I WHERE ctid = ANY (ARRAY('
        ' SELECT ctid FROM %1$I WHERE %2$I < $1 ORDER BY %2$I LIMIT $2 FOR UPDATE SKIP LOCKED))',
        parent || '_default',
        instant_column
    ) USING date_trunc('month', least(instant, clock_timestamp() - interval '1 day')), most;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$function$;

-- The same for events; dropping a month of theirs looks at what is not published yet, and stays.
CREATE OR REPLACE FUNCTION events_ensure_partitions(months integer) RETURNS SETOF text
LANGUAGE sql
SET lock_timeout = '2s'
SET search_path FROM CURRENT
AS $function$
    SELECT months_ensure('events', months)
$function$;
