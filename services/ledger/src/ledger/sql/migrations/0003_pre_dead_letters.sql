-- What people decided of dead letters. The search path is the service's schema.
SET lock_timeout = '5s';

-- A dead letter is named by its place in the topic of dead letters, and resolved once. Never
-- expires: rows are few, and whether a record was given up is asked long after its topic forgot it.
CREATE TABLE dead_letter_resolutions (
    namespace text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    state text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    request_id text NOT NULL,
    detail text NOT NULL,
    resolved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT dead_letter_resolutions_pkey
        PRIMARY KEY (namespace, topic, partition, record_offset),
    CONSTRAINT dead_letter_resolutions_place_check CHECK (partition >= 0 AND record_offset >= 0),
    CONSTRAINT dead_letter_resolutions_state_check CHECK (state IN ('redriven', 'discarded')),
    CONSTRAINT dead_letter_resolutions_reason_check CHECK (actor <> '' AND reason <> '')
);
