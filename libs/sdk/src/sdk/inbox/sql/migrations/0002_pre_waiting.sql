-- Events that wait for an earlier version of their stream, and copies that were asked for. The
-- search path is the schema that the consumer chose for its inbox.
SET lock_timeout = '5s';

-- A copy that was republished on purpose is remembered beside its event, by who asked for it.
ALTER TABLE inbox_events
    ADD COLUMN republish_id text NOT NULL DEFAULT '',
    DROP CONSTRAINT inbox_events_pkey,
    ADD CONSTRAINT inbox_events_pkey
        PRIMARY KEY (namespace, consumer_group, source, event_id, republish_id);

-- Noted, not handled: the bytes are kept, since the offset of the record is committed.
CREATE TABLE inbox_waiting (
    namespace text NOT NULL,
    consumer_group text NOT NULL,
    source text NOT NULL,
    stream text NOT NULL,
    version bigint NOT NULL,
    event_id text NOT NULL,
    topic text NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    republish_id text,
    traceparent text,
    body bytea NOT NULL,
    waits_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT inbox_waiting_pkey PRIMARY KEY (namespace, consumer_group, source, stream, version),
    CONSTRAINT inbox_waiting_version_check CHECK (version > 1)
);

-- 0: the stream has not begun, and later versions of it wait.
ALTER TABLE inbox_streams
    DROP CONSTRAINT inbox_streams_version_check,
    ADD CONSTRAINT inbox_streams_version_check
        CHECK (version >= 0 AND forgotten_version BETWEEN 0 AND version);
