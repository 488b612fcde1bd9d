-- Overlap over runs, the whole account of due times, and what people do to schedules. The search path
-- is the service's schema.
SET lock_timeout = '5s';

-- When the first due time is taken up that is not accounted for; null while nothing is expected.
ALTER TABLE schedule_cursors ADD COLUMN next_at timestamptz;

CREATE INDEX schedule_cursors_next_idx ON schedule_cursors (namespace, next_at)
    WHERE next_at IS NOT NULL;

-- A row may stand for a stretch of due times up to `last_due_at`. `awaited` says of a run that
-- another one waits for its end. Who asked for a due time by hand, and why, is told with it.
ALTER TABLE due_times
    ADD COLUMN last_due_at timestamptz,
    ADD COLUMN due_count integer NOT NULL DEFAULT 1,
    ADD COLUMN awaited boolean NOT NULL DEFAULT false,
    ADD COLUMN request_id text,
    ADD COLUMN asked_by text,
    ADD COLUMN ask_reason text,
    DROP CONSTRAINT due_times_outcome_check,
    ADD CONSTRAINT due_times_outcome_check CHECK (outcome IN (
        'run', 'skipped', 'coalesced', 'dropped', 'overlapped', 'waiting', 'disabled'
    )) NOT VALID,
    ADD CONSTRAINT due_times_stretch_check CHECK (
        (last_due_at IS NULL AND due_count = 1)
        OR (last_due_at > due_at AND due_count > 1 AND outcome NOT IN ('run', 'waiting'))
    ) NOT VALID,
    ADD CONSTRAINT due_times_waiting_check CHECK (
        outcome <> 'waiting' OR (window_start IS NOT NULL AND window_end IS NOT NULL)
    ) NOT VALID;

CREATE UNIQUE INDEX due_times_request_key ON due_times (namespace, definition_id, request_id)
    WHERE request_id IS NOT NULL;
CREATE INDEX due_times_waiting_idx ON due_times (namespace, definition_id, due_at)
    WHERE outcome = 'waiting';

ALTER TABLE pending_operations
    DROP CONSTRAINT pending_operations_kind_check,
    ADD CONSTRAINT pending_operations_kind_check
        CHECK (kind IN ('start_run', 'retry_task', 'cancel', 'tell_failure', 'tick')) NOT VALID;

-- Schedules of definitions that somebody holds; the one that is not over is open.
CREATE TABLE schedule_pauses (
    namespace text NOT NULL,
    definition_id text NOT NULL,
    paused_at timestamptz NOT NULL,
    paused_by text NOT NULL,
    pause_reason text NOT NULL,
    resumed_at timestamptz,
    resumed_by text,
    resume_reason text,
    CONSTRAINT schedule_pauses_pkey PRIMARY KEY (namespace, definition_id, paused_at),
    CONSTRAINT schedule_pauses_resumed_check CHECK (
        (resumed_at IS NULL) = (resumed_by IS NULL)
        AND (resumed_at IS NULL) = (resume_reason IS NULL)
        AND (resumed_at IS NULL OR resumed_at >= paused_at)
    )
);

CREATE UNIQUE INDEX schedule_pauses_open_key ON schedule_pauses (namespace, definition_id)
    WHERE resumed_at IS NULL;

-- Due times that somebody does not want to run.
CREATE TABLE schedule_skips (
    namespace text NOT NULL,
    definition_id text NOT NULL,
    due_at timestamptz NOT NULL,
    request_id text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    asked_at timestamptz NOT NULL,
    CONSTRAINT schedule_skips_pkey PRIMARY KEY (namespace, definition_id, due_at),
    CONSTRAINT schedule_skips_request_key UNIQUE (namespace, definition_id, request_id)
);
