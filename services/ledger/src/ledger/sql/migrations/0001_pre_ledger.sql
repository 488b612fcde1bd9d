-- Runs, tasks, documents, schedules. The search path is the service's schema.
SET lock_timeout = '5s';

-- Which execution answered a trigger. Never expires: it is the horizon of idempotency, beyond
-- Temporal's retention and beyond that of the runs.
CREATE TABLE trigger_keys (
    namespace text NOT NULL,
    definition_id text NOT NULL,
    trigger_key text NOT NULL,
    run_id text NOT NULL,
    workflow_run_id text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT trigger_keys_pkey PRIMARY KEY (namespace, definition_id, trigger_key)
);

-- Triggers, snapshots and decisions by the hash of their canonical bytes.
CREATE TABLE documents (
    namespace text NOT NULL,
    sha256 text NOT NULL,
    body bytea NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT documents_pkey PRIMARY KEY (namespace, sha256),
    CONSTRAINT documents_sha256_check CHECK (sha256 = encode(sha256(body), 'hex'))
);

-- A read model of the events of run streams. `position` is that of the run's first event and gives
-- lists their order. The cause is kept for the events that follow.
CREATE TABLE runs (
    namespace text NOT NULL,
    run_id text NOT NULL,
    position bigint NOT NULL,
    definition_id text NOT NULL,
    definition_version bigint NOT NULL,
    trigger_kind text NOT NULL,
    trigger_key text NOT NULL,
    trigger_names text[] NOT NULL,
    trigger_sha256 text NOT NULL,
    snapshot_sha256 text,
    decision_sha256 text,
    status text NOT NULL,
    tasks integer NOT NULL,
    open_automated integer NOT NULL,
    open_human integer NOT NULL,
    failed_tasks integer NOT NULL,
    workflow_run_id text NOT NULL,
    recorded_at timestamptz NOT NULL,
    closed_at timestamptz,
    failure_type text,
    failure_message text,
    correlation_id text NOT NULL,
    causation_id text,
    traceparent text,
    hops integer NOT NULL,
    CONSTRAINT runs_pkey PRIMARY KEY (namespace, run_id),
    CONSTRAINT runs_position_key UNIQUE (position),
    CONSTRAINT runs_status_check CHECK (status IN ('running', 'waiting', 'completed', 'failed')),
    CONSTRAINT runs_closed_check
        CHECK ((closed_at IS NOT NULL) = (status IN ('completed', 'failed'))),
    CONSTRAINT runs_open_check CHECK (
        open_automated >= 0 AND open_human >= 0 AND open_automated + open_human <= tasks
        AND (closed_at IS NULL OR open_automated + open_human = 0)
    ),
    CONSTRAINT runs_failure_check CHECK ((failure_type IS NOT NULL) = (status = 'failed'))
) WITH (fillfactor = 80);

CREATE INDEX runs_newest_idx ON runs (namespace, position DESC);
CREATE INDEX runs_definition_idx ON runs (namespace, definition_id, position DESC);
CREATE INDEX runs_open_idx ON runs (namespace, position DESC) WHERE closed_at IS NULL;

-- A read model of the same events. Inputs, forms and outputs are canonical JSON.
CREATE TABLE tasks (
    namespace text NOT NULL,
    task_id uuid NOT NULL,
    position bigint NOT NULL,
    run_id text NOT NULL,
    definition_id text NOT NULL,
    rule text NOT NULL,
    key text NOT NULL,
    type text NOT NULL,
    status text NOT NULL,
    handler text,
    task_queue text,
    title text,
    assigned_users text[] NOT NULL,
    assigned_groups text[] NOT NULL,
    input bytea NOT NULL,
    form bytea,
    created_at timestamptz NOT NULL,
    due_at timestamptz,
    closed_at timestamptz,
    closed_by text,
    output bytea,
    failure_type text,
    failure_message text,
    CONSTRAINT tasks_pkey PRIMARY KEY (namespace, task_id),
    CONSTRAINT tasks_position_key UNIQUE (position),
    CONSTRAINT tasks_run_fkey FOREIGN KEY (namespace, run_id) REFERENCES runs (namespace, run_id),
    CONSTRAINT tasks_type_check CHECK (type IN ('automated', 'human')),
    CONSTRAINT tasks_status_check CHECK (status IN ('open', 'completed', 'failed')),
    CONSTRAINT tasks_closed_check CHECK ((closed_at IS NOT NULL) = (status <> 'open')),
    CONSTRAINT tasks_handler_check
        CHECK ((type = 'automated') = (handler IS NOT NULL AND task_queue IS NOT NULL)),
    CONSTRAINT tasks_title_check CHECK ((type = 'human') = (title IS NOT NULL)),
    CONSTRAINT tasks_failure_check CHECK ((failure_type IS NOT NULL) = (status = 'failed'))
) WITH (fillfactor = 80);

CREATE INDEX tasks_newest_idx ON tasks (namespace, position DESC);
CREATE INDEX tasks_run_idx ON tasks (namespace, run_id, position);
-- The human inbox.
CREATE INDEX tasks_open_idx ON tasks (namespace, type, position DESC) WHERE status = 'open';

-- What was asked by people, so that the same request has one effect.
CREATE TABLE requests (
    namespace text NOT NULL,
    method text NOT NULL,
    request_id text NOT NULL,
    fingerprint text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT requests_pkey PRIMARY KEY (namespace, method, request_id)
);

-- The epochs of a definition's schedules. An epoch is in force for the due times in
-- (its effective_from, the next one's effective_from].
CREATE TABLE schedules (
    namespace text NOT NULL,
    definition_id text NOT NULL,
    epoch integer NOT NULL,
    definition_version bigint NOT NULL,
    schedules bytea NOT NULL,
    task_queue text NOT NULL,
    effective_from timestamptz NOT NULL,
    enabled boolean NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT schedules_pkey PRIMARY KEY (namespace, definition_id, epoch),
    CONSTRAINT schedules_epoch_check CHECK (epoch >= 1),
    CONSTRAINT schedules_version_check CHECK (definition_version >= 1)
);

-- Up to where due times are accounted for: the lock of an advance. Never moves back.
CREATE TABLE schedule_cursors (
    namespace text NOT NULL,
    definition_id text NOT NULL,
    covered_until timestamptz NOT NULL,
    CONSTRAINT schedule_cursors_pkey PRIMARY KEY (namespace, definition_id)
) WITH (fillfactor = 50);

-- Every due time with what became of it. A run is leased to a tick until it is acknowledged.
CREATE TABLE due_times (
    namespace text NOT NULL,
    definition_id text NOT NULL,
    due_at timestamptz NOT NULL,
    names text[] NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL,
    run_id text,
    definition_version bigint NOT NULL,
    task_queue text NOT NULL,
    window_start timestamptz,
    window_end timestamptz,
    coalesced timestamptz[] NOT NULL,
    decided_at timestamptz NOT NULL,
    leased_until timestamptz,
    leased_for timestamptz,
    acknowledged_at timestamptz,
    run_closed_at timestamptz,
    CONSTRAINT due_times_pkey PRIMARY KEY (namespace, definition_id, due_at),
    CONSTRAINT due_times_outcome_check
        CHECK (outcome IN ('run', 'skipped', 'coalesced', 'dropped', 'overlapped')),
    CONSTRAINT due_times_run_check CHECK (outcome <> 'run' OR (
        run_id IS NOT NULL AND window_start IS NOT NULL AND window_end IS NOT NULL
    )),
    CONSTRAINT due_times_start_check CHECK (outcome = 'run' OR (
        leased_until IS NULL AND acknowledged_at IS NULL AND run_closed_at IS NULL
    ))
);

-- Runs that are not closed: what an overlap policy looks at, and what is to be started.
CREATE INDEX due_times_open_idx ON due_times (namespace, definition_id, due_at)
    WHERE outcome = 'run' AND run_closed_at IS NULL;
CREATE INDEX due_times_unacknowledged_idx ON due_times (namespace, definition_id, due_at)
    WHERE outcome = 'run' AND acknowledged_at IS NULL;
