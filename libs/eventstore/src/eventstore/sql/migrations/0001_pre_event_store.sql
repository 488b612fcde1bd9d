-- The event store, which is the outbox. The search path is the service's schema.
SET lock_timeout = '5s';

-- The last version and hash of every stream: the lock of an append, and with the trigger keys the
-- horizon of idempotency. Never expires.
CREATE TABLE stream_heads (
    namespace text NOT NULL,
    stream text NOT NULL,
    version bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT stream_heads_pkey PRIMARY KEY (namespace, stream),
    CONSTRAINT stream_heads_version_check CHECK (version >= 1),
    CONSTRAINT stream_heads_hash_check CHECK (octet_length(hash) = 32)
) WITH (fillfactor = 80);

CREATE SEQUENCE events_position_seq AS bigint;

-- Written once, never changed. A unique key of a partitioned table holds the partition's column;
-- that a version is unique over all months is held by the lock of the stream's head.
CREATE TABLE events (
    position bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    namespace text NOT NULL,
    stream text NOT NULL,
    version bigint NOT NULL,
    event_id uuid NOT NULL,
    type text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    signature bytea,
    signing_key_id text,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    blob_ref text,
    CONSTRAINT events_pkey PRIMARY KEY (position, recorded_at),
    CONSTRAINT events_stream_version_key UNIQUE (namespace, stream, version, recorded_at),
    CONSTRAINT events_version_check CHECK (version >= 1),
    CONSTRAINT events_headers_check CHECK (jsonb_typeof(headers) = 'array'),
    CONSTRAINT events_hash_check
        CHECK (octet_length(hash) = 32 AND octet_length(previous_hash) = 32),
    CONSTRAINT events_signature_check CHECK ((signature IS NULL) = (signing_key_id IS NULL))
) PARTITION BY RANGE (recorded_at);

ALTER SEQUENCE events_position_seq OWNED BY events.position;

-- The safety net: an append never fails because nobody made the month.
CREATE TABLE events_default PARTITION OF events DEFAULT;

-- Makes the partitions of this month and `months` more, and returns the new ones. Rows that fell
-- into the default partition keep their month there: moving them is an operator's choice.
CREATE FUNCTION events_ensure_partitions(months integer) RETURNS SETOF text
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
    PERFORM pg_advisory_xact_lock(hashtext('events_ensure_partitions'), hashtext(current_schema()));
    FOR ahead IN 0..months LOOP
        first_day := this_month + make_interval(months => ahead);
        partition_name := 'events_' || to_char(first_day, 'YYYY_MM');
        CONTINUE WHEN to_regclass(partition_name) IS NOT NULL;
        BEGIN
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF events FOR VALUES FROM (%L) TO (%L)',
                partition_name,
                first_day AT TIME ZONE 'UTC',
                (first_day + interval '1 month') AT TIME ZONE 'UTC'
            );
            RETURN NEXT partition_name;
        EXCEPTION WHEN check_violation THEN
            RAISE WARNING 'the default partition holds events of %', partition_name;
        END;
    END LOOP;
END
$function$;

DO $first$ BEGIN PERFORM events_ensure_partitions(3); END $first$;

-- What is not published yet. Rows come and go at the rate of events, so it is vacuumed by count,
-- not by share, and without pause.
CREATE TABLE outbox_pending (
    position bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    namespace text NOT NULL,
    stream text NOT NULL,
    version bigint NOT NULL,
    queued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT outbox_pending_pkey PRIMARY KEY (position)
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 1000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- The relay alone reads and clears the outbox, with a role of its own.
DO $grants$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'relay') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO relay', current_schema());
        GRANT SELECT ON events TO relay;
        GRANT SELECT, DELETE ON outbox_pending TO relay;
    END IF;
END
$grants$;
