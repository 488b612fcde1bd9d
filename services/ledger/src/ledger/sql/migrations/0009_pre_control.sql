-- Control of runs: cancelled and retried ones, what of it is to be done in Temporal, and who was told
-- of failures. The search path is the service's schema.
SET lock_timeout = '5s';

ALTER TABLE runs
    ADD COLUMN closed_by text,
    ADD COLUMN close_reason text;

-- Looser than what they replace: what is there need not be looked at again.
ALTER TABLE runs
    DROP CONSTRAINT runs_status_check,
    ADD CONSTRAINT runs_status_check CHECK (
        status IN ('running', 'waiting', 'completed', 'failed', 'cancelled')
    ) NOT VALID,
    DROP CONSTRAINT runs_closed_check,
    ADD CONSTRAINT runs_closed_check CHECK (
        (closed_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))
    ) NOT VALID;

-- `begun_at` is when the generation began, null for that of the decision.
ALTER TABLE tasks
    ADD COLUMN generation integer NOT NULL DEFAULT 1,
    ADD COLUMN begun_at timestamptz,
    DROP CONSTRAINT tasks_status_check,
    ADD CONSTRAINT tasks_status_check CHECK (
        status IN ('open', 'completed', 'failed', 'cancelled', 'expired')
    ) NOT VALID,
    ADD CONSTRAINT tasks_generation_check CHECK (generation >= 1) NOT VALID;

-- Runs that decided again; a read model of the events of run streams. Numbered by the first run.
CREATE TABLE run_retries (
    namespace text NOT NULL,
    root_run_id text NOT NULL,
    number integer NOT NULL,
    run_id text NOT NULL,
    retried_run_id text NOT NULL,
    request_id text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    retried_at timestamptz NOT NULL,
    CONSTRAINT run_retries_pkey PRIMARY KEY (namespace, root_run_id, number),
    CONSTRAINT run_retries_request_key UNIQUE (namespace, request_id),
    CONSTRAINT run_retries_number_check CHECK (number >= 1)
);

CREATE INDEX run_retries_retried_idx ON run_retries (namespace, retried_run_id, number);

-- Calls of the handlers of `onFailure`; a read model of the same events.
CREATE TABLE failure_calls (
    namespace text NOT NULL,
    call_id uuid NOT NULL,
    run_id text NOT NULL,
    task_id uuid,
    handler text NOT NULL,
    handled_at timestamptz NOT NULL,
    failure_type text,
    failure_message text,
    CONSTRAINT failure_calls_pkey PRIMARY KEY (namespace, call_id)
);

CREATE INDEX failure_calls_run_idx ON failure_calls (namespace, run_id, handled_at);

-- What is to be done in Temporal, written with the state that asks for it. Those of one workflow are
-- handed out by position. A row goes when it is confirmed.
CREATE TABLE pending_operations (
    namespace text NOT NULL,
    operation_id text NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    workflow_id text NOT NULL,
    definition_id text NOT NULL,
    definition_version bigint NOT NULL,
    -- The task and generation that are carried out again.
    task_id uuid,
    generation integer,
    input bytea NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    queued_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    lease text,
    leased_until timestamptz,
    last_error text NOT NULL DEFAULT '',
    CONSTRAINT pending_operations_pkey PRIMARY KEY (namespace, operation_id),
    CONSTRAINT pending_operations_position_key UNIQUE (position),
    CONSTRAINT pending_operations_kind_check CHECK (kind IN ('start_run', 'retry_task', 'cancel')),
    CONSTRAINT pending_operations_task_check CHECK (
        (kind = 'retry_task') = (task_id IS NOT NULL AND generation IS NOT NULL)
    ),
    CONSTRAINT pending_operations_lease_check CHECK ((lease IS NULL) = (leased_until IS NULL))
) WITH (fillfactor = 80);

CREATE INDEX pending_operations_workflow_idx
    ON pending_operations (namespace, workflow_id, position);
CREATE INDEX pending_operations_task_idx ON pending_operations (namespace, task_id, generation)
    WHERE task_id IS NOT NULL;
