-- The consumer inbox. The search path is the schema that the consumer chose for it.
SET lock_timeout = '5s';

-- The events that took effect, for as long as their ids are kept. `stream` and `version` are where
-- the event stands in its stream, if it stands in one.
CREATE TABLE inbox_events (
    namespace text NOT NULL,
    consumer_group text NOT NULL,
    source text NOT NULL,
    event_id text NOT NULL,
    sha256 bytea NOT NULL,
    topic text NOT NULL,
    stream text,
    version bigint,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT inbox_events_pkey PRIMARY KEY (namespace, consumer_group, source, event_id),
    CONSTRAINT inbox_events_sha256_check CHECK (octet_length(sha256) = 32),
    CONSTRAINT inbox_events_stream_check
        CHECK ((stream IS NULL) = (version IS NULL) AND version >= 1)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX inbox_events_seen_at_idx ON inbox_events (namespace, consumer_group, seen_at);

-- The last version of each stream on each topic. Never expires. What is at or below
-- `forgotten_version` was seen, though its id is no longer kept.
CREATE TABLE inbox_streams (
    namespace text NOT NULL,
    consumer_group text NOT NULL,
    topic text NOT NULL,
    source text NOT NULL,
    stream text NOT NULL,
    version bigint NOT NULL,
    forgotten_version bigint NOT NULL DEFAULT 0,
    CONSTRAINT inbox_streams_pkey PRIMARY KEY (namespace, consumer_group, topic, source, stream),
    CONSTRAINT inbox_streams_version_check
        CHECK (version >= 1 AND forgotten_version BETWEEN 0 AND version)
) WITH (fillfactor = 80);

-- Records that took no effect and never will by themselves. The hash is part of the key because a
-- topic that was made anew counts its offsets from 0 again.
CREATE TABLE inbox_refusals (
    number bigint GENERATED ALWAYS AS IDENTITY,
    namespace text NOT NULL,
    consumer_group text NOT NULL,
    topic text NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    sha256 bytea NOT NULL,
    source text,
    event_id text,
    reason text NOT NULL,
    detail text NOT NULL,
    body bytea NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT inbox_refusals_pkey PRIMARY KEY (number),
    CONSTRAINT inbox_refusals_record_key
        UNIQUE (namespace, consumer_group, topic, kafka_partition, kafka_offset, sha256),
    CONSTRAINT inbox_refusals_sha256_check CHECK (sha256 = sha256(body))
);
