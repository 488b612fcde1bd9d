-- Replays of events: what past events are to start once more, planned first and carried out then.
-- The search path is the service's schema.
SET lock_timeout = '5s';

-- `stretches` is what is left to be read of a plan, by partition: {"0": [next, end]}. `plan_chain` is
-- the hash of all that was planned so far, each part with the one before it.
CREATE TABLE replays (
    namespace text NOT NULL,
    replay_id text NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    state text NOT NULL DEFAULT 'planning',
    topic text NOT NULL,
    from_at timestamptz NOT NULL,
    to_at timestamptz NOT NULL,
    definition_ids text[] NOT NULL,
    mode text NOT NULL,
    max_starts_per_second integer NOT NULL,
    stretches jsonb NOT NULL,
    records_total bigint NOT NULL,
    records bigint NOT NULL DEFAULT 0,
    unrouted bigint NOT NULL DEFAULT 0,
    plan_chain bytea NOT NULL,
    starts bigint NOT NULL DEFAULT 0,
    events bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    begun bigint NOT NULL DEFAULT 0,
    open_events bigint NOT NULL DEFAULT 0,
    next_look_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    created_reason text NOT NULL,
    changed_at timestamptz,
    changed_by text,
    changed_reason text,
    finished_at timestamptz,
    CONSTRAINT replays_pkey PRIMARY KEY (namespace, replay_id),
    CONSTRAINT replays_position_key UNIQUE (position),
    CONSTRAINT replays_state_check CHECK (
        state IN ('planning', 'planned', 'running', 'paused', 'finished', 'cancelled')
    ),
    CONSTRAINT replays_mode_check CHECK (mode IN ('missing', 'failed', 'all')),
    CONSTRAINT replays_rate_check CHECK (max_starts_per_second BETWEEN 1 AND 1000),
    CONSTRAINT replays_begun_check CHECK (begun BETWEEN 0 AND starts),
    CONSTRAINT replays_look_check CHECK (state <> 'running' OR next_look_at IS NOT NULL)
) WITH (fillfactor = 50);

CREATE INDEX replays_running_idx ON replays (namespace, next_look_at) WHERE state = 'running';

-- The definitions of a plan: the version that it was made with, and that version's limits.
CREATE TABLE replay_definitions (
    namespace text NOT NULL,
    replay_id text NOT NULL,
    definition_id text NOT NULL,
    definition_version bigint NOT NULL,
    task_queue text NOT NULL,
    max_open_runs integer NOT NULL,
    max_runs integer NOT NULL,
    max_runs_window interval NOT NULL,
    starts bigint NOT NULL DEFAULT 0,
    CONSTRAINT replay_definitions_pkey PRIMARY KEY (namespace, replay_id, definition_id),
    CONSTRAINT replay_definitions_replay_fkey FOREIGN KEY (namespace, replay_id)
        REFERENCES replays (namespace, replay_id) ON DELETE CASCADE
);

-- How many events came to what, for each definition: by the plan (`planned`), and when it was carried
-- out (`outcome`). Records that are refused now belong to no definition (`refused`, '').
CREATE TABLE replay_tallies (
    namespace text NOT NULL,
    replay_id text NOT NULL,
    definition_id text NOT NULL,
    phase text NOT NULL,
    outcome text NOT NULL,
    events bigint NOT NULL,
    CONSTRAINT replay_tallies_pkey
        PRIMARY KEY (namespace, replay_id, definition_id, phase, outcome),
    CONSTRAINT replay_tallies_phase_check CHECK (phase IN ('planned', 'outcome', 'refused')),
    CONSTRAINT replay_tallies_replay_fkey FOREIGN KEY (namespace, replay_id)
        REFERENCES replays (namespace, replay_id) ON DELETE CASCADE
) WITH (fillfactor = 50);

-- What is to be started and was not begun: of one event, or of a batch.
CREATE TABLE replay_starts (
    namespace text NOT NULL,
    replay_id text NOT NULL,
    ordinal bigint NOT NULL,
    pending_id text NOT NULL,
    definition_id text NOT NULL,
    key text NOT NULL,
    batch_max_events integer NOT NULL,
    events integer NOT NULL,
    bytes bigint NOT NULL,
    CONSTRAINT replay_starts_pkey PRIMARY KEY (namespace, replay_id, ordinal),
    CONSTRAINT replay_starts_replay_fkey FOREIGN KEY (namespace, replay_id)
        REFERENCES replays (namespace, replay_id) ON DELETE CASCADE
);

CREATE INDEX replay_starts_key_idx
    ON replay_starts (namespace, replay_id, definition_id, key, ordinal);

-- The events of the plan, each once for a definition, whatever was begun. Envelopes leave with their
-- start.
CREATE TABLE replay_events (
    namespace text NOT NULL,
    replay_id text NOT NULL,
    definition_id text NOT NULL,
    source text NOT NULL,
    event_id text NOT NULL,
    ordinal bigint NOT NULL,
    place_in_start integer NOT NULL,
    type text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    digest bytea NOT NULL,
    registry_revision bigint NOT NULL,
    trigger_names text[] NOT NULL,
    envelope bytea,
    CONSTRAINT replay_events_pkey
        PRIMARY KEY (namespace, replay_id, definition_id, source, event_id),
    CONSTRAINT replay_events_place_key UNIQUE (namespace, replay_id, ordinal, place_in_start),
    CONSTRAINT replay_events_replay_fkey FOREIGN KEY (namespace, replay_id)
        REFERENCES replays (namespace, replay_id) ON DELETE CASCADE
);

ALTER TABLE pending_starts DROP CONSTRAINT pending_starts_reason_check;
ALTER TABLE pending_starts ADD CONSTRAINT pending_starts_reason_check
    CHECK (reason IN ('held', 'batch', 'limited', 'replay')) NOT VALID;
ALTER TABLE pending_starts VALIDATE CONSTRAINT pending_starts_reason_check;
