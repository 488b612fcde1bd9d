-- Who opened a dead letter, and why. The search path is the service's schema.
SET lock_timeout = '5s';

-- Written before what is in it is shown, and never changed: it is the audit of who has seen what.
CREATE TABLE dead_letter_openings (
    namespace text NOT NULL,
    opening_id bigint GENERATED ALWAYS AS IDENTITY,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    request_id text NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT dead_letter_openings_pkey PRIMARY KEY (namespace, opening_id),
    CONSTRAINT dead_letter_openings_request_key
        UNIQUE (namespace, topic, partition, record_offset, request_id),
    CONSTRAINT dead_letter_openings_place_check CHECK (partition >= 0 AND record_offset >= 0),
    CONSTRAINT dead_letter_openings_reason_check CHECK (actor <> '' AND reason <> '')
);
