-- name: last_retry
-- Read under the lock of the root's row, so that two retries have two numbers.
SELECT COALESCE(max(number), 0) FROM run_retries WHERE namespace = $1 AND root_run_id = $2;

-- name: retry_by_request
SELECT run_id FROM run_retries WHERE namespace = $1 AND request_id = $2;

-- name: retries_of
SELECT run_id, retried_run_id, actor, reason, retried_at
FROM run_retries
WHERE namespace = $1 AND retried_run_id = $2
ORDER BY number
LIMIT $3;

-- name: insert_retry
INSERT INTO run_retries (
    namespace, root_run_id, number, run_id, retried_run_id, request_id, actor, reason, retried_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: failure_call_exists
SELECT EXISTS (SELECT FROM failure_calls WHERE namespace = $1 AND call_id = $2);

-- name: failure_calls_of
SELECT call_id, task_id, handler, handled_at, failure_type, failure_message
FROM failure_calls
WHERE namespace = $1 AND run_id = $2
ORDER BY handled_at, call_id
LIMIT $3;

-- name: insert_failure_call
INSERT INTO failure_calls (
    namespace, call_id, run_id, task_id, handler, handled_at, failure_type, failure_message
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: task_states_of
-- Read under the run's lock: the tasks of these states, people's too.
SELECT task_id, run_id, definition_id, rule, key, type, status, generation, handler
FROM tasks
WHERE namespace = $1 AND run_id = $2 AND status = $3
ORDER BY position;

-- name: reopen_due_run
-- The run of a due time counts for the overlap policy again.
UPDATE due_times
SET run_closed_at = NULL
WHERE namespace = $1 AND definition_id = $2 AND outcome = 'run' AND run_id = $3;

-- name: add_operation
-- What is to be done already, and was not told of yet, is done once for whoever asks.
INSERT INTO pending_operations (
    namespace, operation_id, kind, workflow_id, definition_id, definition_version, task_id,
    generation, input, actor, reason, queued_at, due_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)
ON CONFLICT ON CONSTRAINT pending_operations_pkey DO NOTHING;

-- name: withdraw_retries
-- What nobody was handed yet is not begun only to be cancelled.
DELETE FROM pending_operations
WHERE namespace = $1 AND workflow_id = ANY($2) AND kind = 'retry_task' AND attempts = 0;

-- name: claim
-- Of a workflow only the first one; of the due ones as many as `$4` bytes hold, at least one.
WITH due AS (
    SELECT operation_id, position, octet_length(input) AS bytes
    FROM pending_operations AS one
    WHERE namespace = $1 AND due_at <= clock_timestamp()
        AND (leased_until IS NULL OR leased_until <= clock_timestamp())
        AND NOT EXISTS (
            SELECT FROM pending_operations AS earlier
            WHERE earlier.namespace = one.namespace AND earlier.workflow_id = one.workflow_id
                AND earlier.position < one.position
        )
        -- A kill switch has a start wait for its reset, and what would have an effect.
        AND NOT EXISTS (
            SELECT FROM halted_definitions AS halted
            WHERE halted.namespace = one.namespace
                AND halted.definition_id IN (one.definition_id, '*')
                AND halted.point = CASE one.kind
                    WHEN 'start_run' THEN 'run'
                    WHEN 'retry_task' THEN 'effect'
                    WHEN 'tell_failure' THEN 'effect'
                END
        )
    ORDER BY position
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), weighed AS (
    SELECT operation_id, sum(bytes) OVER (ORDER BY position) - bytes AS before FROM due
)
UPDATE pending_operations
SET lease = $3, leased_until = clock_timestamp() + $5::interval, attempts = attempts + 1
FROM weighed
WHERE pending_operations.namespace = $1
    AND pending_operations.operation_id = weighed.operation_id AND weighed.before < $4
RETURNING
    pending_operations.operation_id, position, kind, workflow_id, definition_id,
    definition_version, input, actor, reason, queued_at, attempts, lease, last_error;

-- name: finish
DELETE FROM pending_operations
WHERE namespace = $1 AND operation_id = $2 AND lease = $3
RETURNING operation_id;

-- name: give_back
-- After a pause that grows from a second to a minute.
UPDATE pending_operations
SET lease = NULL, leased_until = NULL, last_error = $4,
    due_at = clock_timestamp() + LEAST(power(2, LEAST(attempts, 10) - 1), 60) * interval '1 second'
WHERE namespace = $1 AND operation_id = $2 AND lease = $3
RETURNING operation_id;

-- name: list_operations
SELECT
    operation_id, position, kind, workflow_id, definition_id, definition_version,
    ''::bytea AS input, actor, reason, queued_at, attempts, lease, last_error
FROM pending_operations
WHERE namespace = $1 AND position > $2
ORDER BY position
LIMIT $3;

-- name: open_executions
-- A row at least for each run of the page, so that it leads on where nothing of a run is old enough.
SELECT page.position, page.run_id, page.definition_id, open.task_id, open.generation
FROM (
    SELECT position, run_id, definition_id
    FROM runs
    WHERE namespace = $1 AND closed_at IS NULL AND status = 'running' AND position > $2
    ORDER BY position
    LIMIT $3
) AS page
LEFT JOIN LATERAL (
    SELECT DISTINCT
        CASE WHEN tasks.generation > 1 THEN tasks.task_id END AS task_id, tasks.generation
    FROM tasks
    WHERE tasks.namespace = $1 AND tasks.run_id = page.run_id
        AND tasks.type = 'automated' AND tasks.status = 'open'
        AND COALESCE(tasks.begun_at, tasks.created_at) <= clock_timestamp() - $4::interval
        AND NOT EXISTS (
            SELECT FROM pending_operations AS operation
            WHERE operation.namespace = $1 AND operation.task_id = tasks.task_id
                AND operation.generation = tasks.generation
        )
        -- Its instance has yet to start it.
        AND NOT EXISTS (
            SELECT FROM instance_events AS event
            WHERE event.namespace = $1 AND event.run_id = page.run_id
        )
) AS open ON true
ORDER BY page.position, open.generation, open.task_id;

-- name: unrecorded_due_runs
-- Started for a due time, and never heard of: oldest first.
SELECT
    due_at, definition_id, names, run_id, definition_version, window_start, window_end, coalesced,
    asked_by, ask_reason
FROM due_times
WHERE namespace = $1 AND outcome = 'run' AND run_closed_at IS NULL
    AND acknowledged_at <= clock_timestamp() - $2::interval
    AND NOT EXISTS (
        SELECT FROM runs
        WHERE runs.namespace = due_times.namespace AND runs.run_id = due_times.run_id
    )
ORDER BY due_at
LIMIT $3;

-- name: unrecorded_backfilled
-- Started by a backfill, and never heard of: oldest first.
SELECT
    told.backfill_id, told.definition_id, told.due_at, told.names, told.window_start,
    told.window_end, told.run_id, backfills.definition_version, backfills.created_by,
    backfills.created_reason
FROM backfill_due_times AS told
JOIN backfills ON backfills.namespace = told.namespace AND backfills.backfill_id = told.backfill_id
WHERE told.namespace = $1 AND told.outcome = 'begun' AND told.step = 'start'
    AND told.begun_at <= clock_timestamp() - $2::interval
    AND NOT EXISTS (
        SELECT FROM runs WHERE runs.namespace = told.namespace AND runs.run_id = told.run_id
    )
    AND NOT EXISTS (
        SELECT FROM pending_operations AS operation
        WHERE operation.namespace = told.namespace AND operation.workflow_id = told.run_id
    )
ORDER BY told.begun_at
LIMIT $3;

-- name: unheeded_timers
-- Open human tasks of which a time has passed and was not carried out: nobody watches the clock.
SELECT run_id, definition_id, task_id
FROM tasks
WHERE namespace = $1 AND type = 'human' AND status = 'open'
    AND (due_at IS NOT NULL OR escalates_at IS NOT NULL OR expires_at IS NOT NULL)
    AND EXISTS (
        SELECT FROM unnest(remind_at || ARRAY[due_at, escalates_at, expires_at]) AS timer (at)
        WHERE at <= clock_timestamp() - $2::interval
            AND (advanced_until IS NULL OR at > advanced_until)
    )
ORDER BY position
LIMIT $3;

-- name: list_requests
-- $2, $3, $4: before this time, method and id; null for the newest.
SELECT method, request_id, actor, reason, recorded_at
FROM requests
WHERE namespace = $1
    AND ($2::timestamptz IS NULL OR (recorded_at, method, request_id) < ($2, $3::text, $4::text))
ORDER BY recorded_at DESC, method DESC, request_id DESC
LIMIT $5;
