-- Backfills: past due times that are to run after all, planned first and carried out then. The search
-- path is the service's schema.
SET lock_timeout = '5s';

-- `plan_chain` is the hash of all that the plan says; `starts` are the due times that get a run.
CREATE TABLE backfills (
    namespace text NOT NULL,
    backfill_id text NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    state text NOT NULL DEFAULT 'planned',
    definition_id text NOT NULL,
    definition_version bigint NOT NULL,
    from_at timestamptz NOT NULL,
    to_at timestamptz NOT NULL,
    mode text NOT NULL,
    start_order text NOT NULL,
    concurrency integer NOT NULL,
    plan_chain bytea NOT NULL,
    due_times integer NOT NULL,
    starts integer NOT NULL,
    next_look_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    created_reason text NOT NULL,
    changed_at timestamptz,
    changed_by text,
    changed_reason text,
    finished_at timestamptz,
    CONSTRAINT backfills_pkey PRIMARY KEY (namespace, backfill_id),
    CONSTRAINT backfills_position_key UNIQUE (position),
    CONSTRAINT backfills_state_check CHECK (
        state IN ('planned', 'running', 'paused', 'finished', 'cancelled')
    ),
    CONSTRAINT backfills_mode_check CHECK (mode IN ('missing', 'failed', 'all')),
    CONSTRAINT backfills_order_check CHECK (start_order IN ('oldestFirst', 'newestFirst')),
    CONSTRAINT backfills_concurrency_check CHECK (concurrency BETWEEN 1 AND 100),
    CONSTRAINT backfills_starts_check CHECK (starts BETWEEN 0 AND due_times),
    CONSTRAINT backfills_look_check CHECK (state <> 'running' OR next_look_at IS NOT NULL)
) WITH (fillfactor = 50);

CREATE INDEX backfills_running_idx ON backfills (namespace, next_look_at) WHERE state = 'running';

-- Every due time of a plan, in the order in which they are carried out; `run_id` is its newest run.
CREATE TABLE backfill_due_times (
    namespace text NOT NULL,
    backfill_id text NOT NULL,
    ordinal integer NOT NULL,
    definition_id text NOT NULL,
    due_at timestamptz NOT NULL,
    names text[] NOT NULL,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    standing text NOT NULL,
    step text NOT NULL,
    run_id text NOT NULL,
    outcome text NOT NULL,
    told text NOT NULL,
    begun_at timestamptz,
    CONSTRAINT backfill_due_times_pkey PRIMARY KEY (namespace, backfill_id, ordinal),
    CONSTRAINT backfill_due_times_step_check CHECK (step IN ('start', 'retry', 'leave')),
    CONSTRAINT backfill_due_times_outcome_check CHECK (
        outcome IN ('planned', 'begun', 'completed', 'failed', 'cancelled', 'left')
    ),
    CONSTRAINT backfill_due_times_begun_check CHECK (
        (begun_at IS NULL) = (outcome IN ('planned', 'left'))
    ),
    CONSTRAINT backfill_due_times_backfill_fkey FOREIGN KEY (namespace, backfill_id)
        REFERENCES backfills (namespace, backfill_id) ON DELETE CASCADE
) WITH (fillfactor = 80);

CREATE INDEX backfill_due_times_planned_idx ON backfill_due_times (namespace, backfill_id, ordinal)
    WHERE outcome = 'planned';
CREATE INDEX backfill_due_times_begun_idx ON backfill_due_times (namespace, definition_id, due_at)
    WHERE begun_at IS NOT NULL;
