-- What waits to be started: held while a definition is disabled, gathered into a batch, or limited.
SET lock_timeout = '5s';

-- One row for each definition of which something waits or waited: the lock of all that is done to
-- what waits of it. The limits are those that came with its newest event.
CREATE TABLE pending_definitions (
    namespace text NOT NULL,
    definition_id text NOT NULL,
    waiting integer NOT NULL DEFAULT 0,
    max_open_runs integer NOT NULL DEFAULT 0,
    max_runs integer NOT NULL DEFAULT 0,
    max_runs_window interval NOT NULL DEFAULT '0',
    -- Runs handed out, counted by the end of the stretch of time in which they were.
    handed_out_until timestamptz[] NOT NULL DEFAULT '{}',
    handed_out integer[] NOT NULL DEFAULT '{}',
    -- Of the change that enabled it last, and what was chosen then.
    released_revision bigint NOT NULL DEFAULT 0,
    released_choice text,
    -- When to look for something to hand out; null when nothing can be due.
    next_look_at timestamptz,
    CONSTRAINT pending_definitions_pkey PRIMARY KEY (namespace, definition_id),
    CONSTRAINT pending_definitions_waiting_check CHECK (waiting >= 0),
    CONSTRAINT pending_definitions_limits_check CHECK (max_open_runs >= 0 AND max_runs >= 0),
    CONSTRAINT pending_definitions_handed_out_check
        CHECK (cardinality(handed_out) = cardinality(handed_out_until)),
    CONSTRAINT pending_definitions_choice_check
        CHECK (released_choice IN ('start', 'compress', 'discard'))
) WITH (fillfactor = 50);

CREATE INDEX pending_definitions_look_idx ON pending_definitions (namespace, next_look_at)
    WHERE next_look_at IS NOT NULL;

-- A start: of one event, or of a batch. Those of a definition and a key are started by position; the
-- empty key has no order. One that spans all keys is started between what came before it and what
-- came after. `due_at` is null while it is held.
CREATE TABLE pending_starts (
    namespace text NOT NULL,
    pending_id text NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    definition_id text NOT NULL,
    key text NOT NULL,
    all_keys boolean NOT NULL DEFAULT false,
    reason text NOT NULL,
    as_one_run boolean NOT NULL,
    -- A batch that takes more events.
    gathering boolean NOT NULL DEFAULT false,
    definition_version bigint NOT NULL,
    definition_revision bigint NOT NULL,
    task_queue text NOT NULL,
    batch_max_events integer NOT NULL,
    events integer NOT NULL,
    bytes bigint NOT NULL,
    queued_at timestamptz NOT NULL,
    due_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    lease text,
    leased_until timestamptz,
    CONSTRAINT pending_starts_pkey PRIMARY KEY (namespace, pending_id),
    CONSTRAINT pending_starts_position_key UNIQUE (position),
    CONSTRAINT pending_starts_reason_check CHECK (reason IN ('held', 'batch', 'limited')),
    CONSTRAINT pending_starts_held_check CHECK (due_at IS NOT NULL OR reason = 'held'),
    CONSTRAINT pending_starts_events_check CHECK (events >= 1 AND bytes >= 0),
    CONSTRAINT pending_starts_one_run_check CHECK (as_one_run OR events = 1),
    CONSTRAINT pending_starts_gathering_check CHECK (
        NOT gathering OR (as_one_run AND lease IS NULL AND attempts = 0 AND batch_max_events > 0)
    ),
    CONSTRAINT pending_starts_lease_check CHECK ((lease IS NULL) = (leased_until IS NULL))
) WITH (fillfactor = 80);

CREATE INDEX pending_starts_key_idx ON pending_starts (namespace, definition_id, key, position);
CREATE INDEX pending_starts_order_idx ON pending_starts (namespace, definition_id, position);
CREATE INDEX pending_starts_newest_idx ON pending_starts (namespace, position);
CREATE INDEX pending_starts_all_keys_idx ON pending_starts (namespace, definition_id, position)
    WHERE all_keys;
CREATE UNIQUE INDEX pending_starts_gathering_key ON pending_starts (namespace, definition_id, key)
    WHERE gathering;

-- The events of the starts. An event waits once, however often its record comes.
CREATE TABLE pending_events (
    namespace text NOT NULL,
    pending_id text NOT NULL,
    ordinal bigint GENERATED ALWAYS AS IDENTITY,
    definition_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    cause text NOT NULL,
    trigger_names text[] NOT NULL,
    envelope bytea NOT NULL,
    queued_at timestamptz NOT NULL,
    CONSTRAINT pending_events_pkey PRIMARY KEY (namespace, pending_id, ordinal),
    CONSTRAINT pending_events_record_key
        UNIQUE (namespace, definition_id, topic, partition, record_offset, cause),
    CONSTRAINT pending_events_start_fkey FOREIGN KEY (namespace, pending_id)
        REFERENCES pending_starts (namespace, pending_id) ON DELETE CASCADE
);

CREATE INDEX pending_events_oldest_idx ON pending_events (namespace, definition_id, ordinal);
CREATE INDEX pending_events_age_idx ON pending_events (namespace, queued_at);

-- Runs that were started under a limit of open runs, until they are seen to be closed.
CREATE TABLE pending_runs (
    namespace text NOT NULL,
    run_id text NOT NULL,
    definition_id text NOT NULL,
    key text NOT NULL,
    started_at timestamptz NOT NULL,
    CONSTRAINT pending_runs_pkey PRIMARY KEY (namespace, run_id)
);

CREATE INDEX pending_runs_definition_idx ON pending_runs (namespace, definition_id, key);
