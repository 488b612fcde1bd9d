-- What waits for its turn in a stateful instance. The search path is the service's schema.
SET lock_timeout = '5s';

-- Events of a key are applied by `position`; each is the run that it will be. One whose run has work
-- that nobody has begun stays until it has.
CREATE TABLE instance_events (
    namespace text NOT NULL,
    run_id text NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    definition_id text NOT NULL,
    key_hash text NOT NULL,
    trigger_key text NOT NULL,
    definition_version bigint NOT NULL,
    trigger bytea NOT NULL,
    -- Where its record stood; null for a timer, which has none.
    topic text,
    partition integer,
    record_offset bigint,
    cause text,
    queued_at timestamptz NOT NULL,
    CONSTRAINT instance_events_pkey PRIMARY KEY (namespace, run_id),
    CONSTRAINT instance_events_position_key UNIQUE (position)
);

CREATE INDEX instance_events_key_idx
    ON instance_events (namespace, definition_id, key_hash, position);

-- What fires when no event comes until then: [{name, due_at, sequence}], and the first of them.
ALTER TABLE instances ADD COLUMN timers jsonb NOT NULL DEFAULT '[]';
ALTER TABLE instances ADD COLUMN next_timer_at timestamptz;

CREATE INDEX instances_timer_idx ON instances (namespace, definition_id, key_hash)
    WHERE next_timer_at IS NOT NULL;
