-- Shards, parking, republishing and retention. The search path is the service's schema.
SET lock_timeout = '5s';

-- The relays of an outbox divide its streams among them by shard (0 to 15). Generated, so that
-- whichever release appends, a stream has one shard.
ALTER TABLE outbox_pending
    ADD COLUMN shard smallint NOT NULL
        GENERATED ALWAYS AS ((hashtext(namespace || ' ' || stream) & 15)::smallint) STORED,
    -- Bytes of the body, so that a reader knows when it has enough without touching it. What a
    -- release before this one does not tell counts as much.
    ADD COLUMN size integer NOT NULL DEFAULT 65536,
    -- Set when the row asks for one more copy of an event that was published before.
    ADD COLUMN republish_id text;

-- Nobody looks into the headers, and binary JSON would be rendered again for each copy.
ALTER TABLE events
    DROP CONSTRAINT events_headers_check,
    ALTER COLUMN headers TYPE json USING headers::json,
    ADD CONSTRAINT events_headers_check CHECK (json_typeof(headers) = 'array');

-- How many of the rows are copies is asked before each batch of a republication.
CREATE INDEX outbox_pending_republished_idx ON outbox_pending (position)
    WHERE republish_id IS NOT NULL;

-- What the broker refuses for good, with the reason. While a row that `waits` is here, the later
-- events of its stream stay in `outbox_pending`.
CREATE TABLE outbox_parked (
    position bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    namespace text NOT NULL,
    stream text NOT NULL,
    version bigint NOT NULL,
    republish_id text,
    queued_at timestamptz NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason text NOT NULL,
    waits boolean NOT NULL,
    CONSTRAINT outbox_parked_pkey PRIMARY KEY (position)
);

-- Who asked for what with the outbox, and why. Never expires: an id is one request for ever.
CREATE TABLE outbox_requests (
    namespace text NOT NULL,
    request_id text NOT NULL,
    kind text NOT NULL,
    arguments jsonb NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at timestamptz,
    CONSTRAINT outbox_requests_pkey PRIMARY KEY (namespace, request_id),
    CONSTRAINT outbox_requests_kind_check CHECK (kind IN ('republish', 'retry', 'discard'))
);

-- How far a republication has come: events after `covered` up to `last` are still to be looked at.
CREATE TABLE outbox_republications (
    namespace text NOT NULL,
    request_id text NOT NULL,
    -- The end that was asked for, or the time of the request if that was earlier.
    recorded_to timestamptz NOT NULL,
    covered bigint NOT NULL,
    last bigint NOT NULL,
    republished bigint NOT NULL DEFAULT 0,
    pending bigint NOT NULL DEFAULT 0,
    parked bigint NOT NULL DEFAULT 0,
    discarded bigint NOT NULL DEFAULT 0,
    CONSTRAINT outbox_republications_pkey PRIMARY KEY (namespace, request_id),
    CONSTRAINT outbox_republications_request_fkey FOREIGN KEY (namespace, request_id)
        REFERENCES outbox_requests (namespace, request_id)
) WITH (fillfactor = 50);

-- Parked rows that somebody gave up: the gap of their stream. Who, when and why is in the request.
CREATE TABLE outbox_discarded (
    position bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    namespace text NOT NULL,
    stream text NOT NULL,
    version bigint NOT NULL,
    republish_id text,
    parked_at timestamptz NOT NULL,
    parked_reason text NOT NULL,
    discarded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    request_id text NOT NULL,
    CONSTRAINT outbox_discarded_pkey PRIMARY KEY (position, discarded_at),
    CONSTRAINT outbox_discarded_request_fkey FOREIGN KEY (namespace, request_id)
        REFERENCES outbox_requests (namespace, request_id)
);

-- Tells the relays that rows came back under their old positions, or that a stream waits no more:
-- they begin again with the first row, as a relay does that was not listening. This is rare, so
-- that it may take the lock of a notification in its transaction, which appends never do.
CREATE FUNCTION outbox_read_again() RETURNS void
LANGUAGE sql
SET search_path FROM CURRENT
AS $function$
    SELECT pg_notify('backbone_outbox_' || current_schema(), 'again')
$function$;

-- Returns a position that no event recorded at `instant` or later is below. Positions and times
-- are taken one after the other by writers side by side, so that neighbours may be in either
-- order; by how little is bounded by the time a statement may take, far less than the hour given.
CREATE FUNCTION events_position_before(instant timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $function$
DECLARE
    low bigint;
    high bigint;
    middle bigint;
    found_position bigint;
    found_at timestamptz;
BEGIN
    SELECT min(position), max(position) + 1 INTO low, high FROM events;
    IF low IS NULL THEN
        RETURN 0;
    END IF;
    WHILE low < high LOOP
        middle := low + (high - low) / 2;
        SELECT position, recorded_at INTO found_position, found_at
        FROM events WHERE position >= middle ORDER BY position LIMIT 1;
        IF found_at >= instant - interval '1 hour' THEN
            high := middle;
        ELSE
            low := found_position + 1;
        END IF;
    END LOOP;
    RETURN low - 1;
END
$function$;

-- Retention and republications keep out of one another's way: no event goes while its row comes.
CREATE FUNCTION events_hold_retention() RETURNS void
LANGUAGE sql
SET search_path FROM CURRENT
AS $function$
    SELECT pg_advisory_xact_lock_shared(
        hashtext('events_retention'), hashtext(current_schema())
    )
$function$;

-- Drops the oldest month of events that ended before `instant` and has nothing left to publish;
-- returns its name, or null when there is none. Appends wait while this waits for its locks, so
-- that it gives up soon: lock_not_available means that it should be tried again.
CREATE FUNCTION events_drop_month(instant timestamptz) RETURNS text
LANGUAGE plpgsql
SET lock_timeout = '250ms'
SET timezone = 'UTC'
SET search_path FROM CURRENT
AS $function$
DECLARE
    month regclass;
    month_end timestamptz;
    month_name text;
    first_position bigint;
    last_position bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('events_retention'), hashtext(current_schema()));
    FOR month, month_end IN
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
        EXECUTE format('SELECT min(position), max(position) FROM %s', month)
            INTO first_position, last_position;
        CONTINUE WHEN EXISTS (
            SELECT FROM outbox_pending
            WHERE position BETWEEN first_position AND last_position AND recorded_at < month_end
        ) OR EXISTS (
            SELECT FROM outbox_parked
            WHERE position BETWEEN first_position AND last_position AND recorded_at < month_end
        );
        month_name := month::text;
        EXECUTE format('ALTER TABLE events DETACH PARTITION %s', month);
        EXECUTE format('DROP TABLE %s', month_name);
        RETURN month_name;
    END LOOP;
    RETURN NULL;
END
$function$;

-- Deletes at most `most` events of whole months before `instant` from the default partition, where
-- they fell when their month was not made; returns how many.
CREATE FUNCTION events_clear_default(instant timestamptz, most integer) RETURNS bigint
LANGUAGE plpgsql
SET lock_timeout = '250ms'
SET timezone = 'UTC'
SET search_path FROM CURRENT
AS $function$
DECLARE
    deleted bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('events_retention'), hashtext(current_schema()));
    DELETE FROM events_default
    WHERE (position, recorded_at) IN (
        SELECT event.position, event.recorded_at
        FROM events_default AS event
        WHERE event.recorded_at
                < date_trunc('month', least(instant, clock_timestamp() - interval '1 day'))
            AND NOT EXISTS (SELECT FROM outbox_pending WHERE position = event.position)
            AND NOT EXISTS (SELECT FROM outbox_parked WHERE position = event.position)
        ORDER BY event.position
        LIMIT most
    );
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$function$;

DO $grants$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'relay') THEN
        GRANT SELECT, INSERT ON outbox_parked TO relay;
    END IF;
END
$grants$;
