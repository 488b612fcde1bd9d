-- Checkpoints over the events, chained by hashes. The search path is the service's schema.
SET lock_timeout = '5s';

-- What was there, range by range of positions, and which months were dropped since. A range has a
-- row for each month that events in it were recorded in. Written once, never changed, never expires.
CREATE TABLE audit_checkpoints (
    number bigint NOT NULL,
    kind text NOT NULL,
    -- Positions from `first_position` to `last_position`; 0 for a dropped month.
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    month date NOT NULL,
    events bigint NOT NULL,
    -- The SHA-256 of each event in the order of positions, and that of all of them.
    leaves bytea NOT NULL,
    digest bytea NOT NULL,
    sealed_at timestamptz NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    -- Of `hash`.
    signature bytea,
    signing_key_id text,
    CONSTRAINT audit_checkpoints_pkey PRIMARY KEY (number),
    CONSTRAINT audit_checkpoints_number_check CHECK (number >= 1),
    CONSTRAINT audit_checkpoints_kind_check CHECK (kind IN ('sealed', 'dropped')),
    CONSTRAINT audit_checkpoints_range_check CHECK (
        CASE kind WHEN 'sealed' THEN first_position BETWEEN 1 AND last_position
            ELSE first_position = 0 AND last_position = 0 END
    ),
    CONSTRAINT audit_checkpoints_leaves_check
        CHECK (octet_length(leaves) = CASE kind WHEN 'sealed' THEN events * 32 ELSE 0 END),
    CONSTRAINT audit_checkpoints_hash_check CHECK (
        octet_length(digest) = 32 AND octet_length(hash) = 32 AND octet_length(previous_hash) = 32
    ),
    CONSTRAINT audit_checkpoints_month_check CHECK (month = date_trunc('month', month::timestamp)),
    CONSTRAINT audit_checkpoints_signature_check
        CHECK ((signature IS NULL) = (signing_key_id IS NULL))
);

-- Hashes cannot be compressed, and need not be read with the rest of the row.
ALTER TABLE audit_checkpoints ALTER COLUMN leaves SET STORAGE EXTERNAL;

CREATE INDEX audit_checkpoints_sealed_idx ON audit_checkpoints (number) WHERE kind = 'sealed';
CREATE UNIQUE INDEX audit_checkpoints_dropped_key ON audit_checkpoints (month)
    WHERE kind = 'dropped';

-- Returns the position up to which all events are sealed.
CREATE FUNCTION events_sealed_to() RETURNS bigint
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $function$
    SELECT COALESCE((
        SELECT last_position FROM audit_checkpoints
        WHERE kind = 'sealed' ORDER BY number DESC LIMIT 1
    ), 0)
$function$;

-- Drops the oldest month of events that ended before `instant`, is sealed and has nothing left to
-- publish; returns its partition and its first day, no row when there is none. Whoever calls it
-- writes the checkpoint that says so. Appends wait while this waits for its locks, so that it gives
-- up soon: lock_not_available means that it should be tried again.
CREATE FUNCTION events_drop_sealed_month(instant timestamptz)
RETURNS TABLE (dropped text, month date)
LANGUAGE plpgsql
SET lock_timeout = '250ms'
SET timezone = 'UTC'
SET search_path FROM CURRENT
AS $function$
DECLARE
    partition regclass;
    month_end timestamptz;
    first_position bigint;
    last_position bigint;
    sealed_to bigint := events_sealed_to();
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('events_retention'), hashtext(current_schema()));
    FOR partition, month_end IN
        SELECT bounded.relid, bounded.ends
        FROM pg_inherits
        JOIN pg_class ON pg_class.oid = inhrelid
        CROSS JOIN LATERAL (
            -- The default partition has no end.
            SELECT inhrelid::regclass AS relid, substring(
                pg_get_expr(relpartbound, pg_class.oid) FROM $bound$TO \('([^']+)'\)$bound$
            )::timestamptz AS ends
        ) AS bounded
        -- Nobody writes into a month that is over.
        WHERE inhparent = 'events'::regclass
            AND bounded.ends <= least(instant, clock_timestamp() - interval '1 day')
        ORDER BY bounded.ends
    LOOP
        EXECUTE format('SELECT min(position), max(position) FROM %s', partition)
            INTO first_position, last_position;
        month := (month_end - interval '1 month')::date;
        CONTINUE WHEN last_position > sealed_to OR (
            -- Somebody has emptied it: what is not there shall not be said to be dropped.
            last_position IS NULL AND EXISTS (
                SELECT FROM audit_checkpoints AS sealed
                WHERE sealed.kind = 'sealed' AND sealed.month = events_drop_sealed_month.month
            )
        ) OR EXISTS (
            SELECT FROM outbox_pending AS pending
            WHERE pending.position BETWEEN first_position AND last_position
                AND pending.recorded_at < month_end
        ) OR EXISTS (
            SELECT FROM outbox_parked AS parked
            WHERE parked.position BETWEEN first_position AND last_position
                AND parked.recorded_at < month_end
        );
        dropped := partition::text;
        EXECUTE format('ALTER TABLE events DETACH PARTITION %s', dropped);
        EXECUTE format('DROP TABLE %s', dropped);
        RETURN NEXT;
        RETURN;
    END LOOP;
END
$function$;

-- Deletes at most `most` sealed and published events of the oldest whole month before `instant`
-- from the default partition, where they fell when their month was not made; returns how many and
-- the first day of that month, no row when there is nothing. Whoever calls it writes the checkpoint.
CREATE FUNCTION events_clear_sealed_default(instant timestamptz, most integer)
RETURNS TABLE (deleted bigint, month date)
LANGUAGE plpgsql
SET lock_timeout = '250ms'
SET timezone = 'UTC'
SET search_path FROM CURRENT
AS $function$
DECLARE
    sealed_to bigint := events_sealed_to();
    limit_time timestamptz := date_trunc('month', least(instant, clock_timestamp() - interval '1 day'));
    month_start timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('events_retention'), hashtext(current_schema()));
    SELECT date_trunc('month', min(event.recorded_at)) INTO month_start
    FROM events_default AS event
    WHERE event.recorded_at < limit_time AND event.position <= sealed_to
        AND NOT EXISTS (SELECT FROM outbox_pending AS one WHERE one.position = event.position)
        AND NOT EXISTS (SELECT FROM outbox_parked AS one WHERE one.position = event.position);
    IF month_start IS NULL THEN
        RETURN;
    END IF;
    DELETE FROM events_default
    WHERE (position, recorded_at) IN (
        SELECT event.position, event.recorded_at
        FROM events_default AS event
        WHERE event.recorded_at >= month_start
            AND event.recorded_at < month_start + interval '1 month'
            AND event.position <= sealed_to
            AND NOT EXISTS (SELECT FROM outbox_pending AS one WHERE one.position = event.position)
            AND NOT EXISTS (SELECT FROM outbox_parked AS one WHERE one.position = event.position)
        ORDER BY event.position
        LIMIT most
    );
    GET DIAGNOSTICS deleted = ROW_COUNT;
    month := month_start::date;
    RETURN NEXT;
END
$function$;

-- A release that seals nothing drops nothing.
CREATE OR REPLACE FUNCTION events_drop_month(instant timestamptz) RETURNS text
LANGUAGE sql
AS $function$ SELECT NULL::text $function$;

CREATE OR REPLACE FUNCTION events_clear_default(instant timestamptz, most integer) RETURNS bigint
LANGUAGE sql
AS $function$ SELECT 0::bigint $function$;
