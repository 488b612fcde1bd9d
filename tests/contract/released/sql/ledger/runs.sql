-- name: claim
-- The first execution wins the trigger key; a concurrent one waits here for the first one's commit.
-- Documents are written by the winner only, who is told of the shadow that decides beside it, and
-- whether a kill switch stops effects.
WITH claimed AS (
    INSERT INTO trigger_keys (namespace, definition_id, trigger_key, run_id, workflow_run_id)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT ON CONSTRAINT trigger_keys_pkey DO NOTHING
    RETURNING recorded_at
), kept AS (
    INSERT INTO documents (namespace, sha256, body)
    SELECT $1, document.sha256, document.body
    FROM claimed CROSS JOIN unnest($6::text[], $7::bytea[]) AS document (sha256, body)
    -- One order for all writers: two of them cannot wait for each other.
    ORDER BY document.sha256
    ON CONFLICT ON CONSTRAINT documents_pkey DO NOTHING
), found_by AS (
    INSERT INTO run_subjects (namespace, subject, run_id)
    SELECT $1, subject, $4
    FROM claimed CROSS JOIN unnest($8::text[]) AS subject
)
SELECT claimed.recorded_at, shadows.shadow_id,
    EXISTS (
        SELECT FROM halted_definitions AS halted
        WHERE halted.namespace = $1 AND halted.point = 'effect'
            AND halted.definition_id IN ($2, '*')
    ) AS effects_halted
FROM claimed
LEFT JOIN shadows
    ON shadows.namespace = $1 AND shadows.definition_id = $2 AND shadows.stopped_at IS NULL
    AND shadows.decided < shadows.max_runs AND shadows.expires_at > claimed.recorded_at;

-- name: claimed_by
SELECT workflow_run_id
FROM trigger_keys
WHERE namespace = $1 AND definition_id = $2 AND trigger_key = $3;

-- name: decision_of
SELECT documents.body
FROM runs JOIN documents
    ON documents.namespace = runs.namespace AND documents.sha256 = runs.decision_sha256
WHERE runs.namespace = $1 AND runs.run_id = $2;

-- name: lock_run
-- Tasks of one run close in turns, so that the last one knows that it is.
SELECT
    run_id, definition_id, definition_version, trigger_kind, trigger_key, trigger_names,
    trigger_sha256, workflow_run_id, status, tasks, open_automated, open_human, failed_tasks,
    correlation_id, causation_id, traceparent, hops, clock_timestamp() AS now
FROM runs
WHERE namespace = $1 AND run_id = $2
FOR UPDATE;

-- name: task_states
-- Read under the run's lock; a null id means all open automated tasks.
SELECT task_id, run_id, definition_id, rule, key, type, status, generation, handler
FROM tasks
WHERE namespace = $1 AND run_id = $2
    AND CASE WHEN $3::uuid IS NULL THEN type = 'automated' AND status = 'open'
        ELSE task_id = $3 END
ORDER BY position;

-- name: insert_run
INSERT INTO runs (
    namespace, run_id, position, definition_id, definition_version, trigger_kind, trigger_key,
    trigger_names, trigger_sha256, snapshot_sha256, decision_sha256, status, tasks,
    open_automated, open_human, failed_tasks, workflow_run_id, recorded_at, closed_at,
    failure_type, failure_message, correlation_id, causation_id, traceparent, hops
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
    $21, $22, $23, $24, $25
);

-- name: insert_task
INSERT INTO tasks (
    namespace, task_id, position, run_id, definition_id, rule, key, type, status, handler,
    task_queue, title, assigned_users, assigned_groups, input, form, created_at, due_at,
    remind_at, escalates_at, escalates_to_users, escalates_to_groups, expires_at
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, 'open', $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
    $20, $21, $22
);

-- name: close_task
UPDATE tasks
SET status = $3, closed_at = $4, closed_by = $5, output = $6, failure_type = $7,
    failure_message = $8, version = version + 1
WHERE namespace = $1 AND task_id = $2;

-- name: reopen_task
UPDATE tasks
SET status = 'open', generation = $3, begun_at = $4, closed_at = NULL, closed_by = NULL,
    output = NULL, failure_type = NULL, failure_message = NULL
WHERE namespace = $1 AND task_id = $2;

-- name: count_closed
-- $6 is the status of a run that closes, null for one that goes on; a negative count opens again.
UPDATE runs
SET open_automated = open_automated - $3,
    open_human = open_human - $4,
    failed_tasks = failed_tasks + $5,
    status = COALESCE(
        $6, CASE WHEN open_automated - $3 > 0 THEN 'running' ELSE 'waiting' END
    ),
    closed_at = $7,
    failure_type = $8,
    failure_message = $9,
    closed_by = $10,
    close_reason = $11
WHERE namespace = $1 AND run_id = $2;

-- name: get_run
SELECT
    namespace, run_id, position, definition_id, definition_version, trigger_kind, trigger_key,
    trigger_names, trigger_sha256, snapshot_sha256, decision_sha256, status, tasks,
    workflow_run_id, recorded_at, closed_at, failure_type, failure_message, closed_by, close_reason
FROM runs
WHERE namespace = $1 AND run_id = $2;

-- name: last_run
-- $3: a run that is not meant, $4: status; null for all. What is looked through has an end, however
-- long no run has had that status. Only the trigger of a due time tells more than the run does.
SELECT
    newest.*, documents.body AS trigger_body
FROM (
    SELECT
        namespace, run_id, position, definition_id, definition_version, trigger_kind, trigger_key,
        trigger_names, trigger_sha256, snapshot_sha256, decision_sha256, status, tasks,
        workflow_run_id, recorded_at, closed_at, failure_type, failure_message, closed_by,
        close_reason
    FROM runs
    WHERE namespace = $1 AND definition_id = $2
    ORDER BY position DESC
    LIMIT 1000
) AS newest
LEFT JOIN documents
    ON newest.trigger_kind IN ('schedule', 'backfill')
    AND documents.namespace = newest.namespace AND documents.sha256 = newest.trigger_sha256
WHERE newest.run_id <> $3 AND ($4::text IS NULL OR newest.status = $4)
ORDER BY newest.position DESC
LIMIT 1;

-- name: documents
SELECT sha256, body FROM documents WHERE namespace = $1 AND sha256 = ANY($2);

-- name: lock_document
SELECT body FROM documents WHERE namespace = $1 AND sha256 = $2 FOR UPDATE;

-- name: redact_document
UPDATE documents
SET body = $3, redacted_at = clock_timestamp(), redacted_by = $4, redaction_reason = $5
WHERE namespace = $1 AND sha256 = $2;

-- name: list_runs
-- $2: before this position, $3: definition, $4: status; null for all.
SELECT
    namespace, run_id, position, definition_id, definition_version, trigger_kind, trigger_key,
    trigger_names, trigger_sha256, snapshot_sha256, decision_sha256, status, tasks,
    workflow_run_id, recorded_at, closed_at, failure_type, failure_message, closed_by, close_reason
FROM runs
WHERE namespace = $1
    AND position < (SELECT COALESCE($2::bigint, 9223372036854775807))
    AND ($3::text IS NULL OR definition_id = $3)
    AND ($4::text IS NULL OR status = $4)
ORDER BY position DESC
LIMIT $5;

-- name: list_runs_of_chain
-- $2: before this position, $3: definition, $4: status; null for all; $6: the correlation.
SELECT
    namespace, run_id, position, definition_id, definition_version, trigger_kind, trigger_key,
    trigger_names, trigger_sha256, snapshot_sha256, decision_sha256, status, tasks,
    workflow_run_id, recorded_at, closed_at, failure_type, failure_message, closed_by, close_reason
FROM runs
WHERE namespace = $1
    AND position < (SELECT COALESCE($2::bigint, 9223372036854775807))
    AND ($3::text IS NULL OR definition_id = $3)
    AND ($4::text IS NULL OR status = $4)
    AND correlation_id = $6
ORDER BY position DESC
LIMIT $5;

-- name: list_runs_of_subject
-- $2: before this position, $3: definition, $4: status; null for all; $6: the subject.
SELECT
    runs.namespace, runs.run_id, runs.position, runs.definition_id, runs.definition_version,
    runs.trigger_kind, runs.trigger_key, runs.trigger_names, runs.trigger_sha256,
    runs.snapshot_sha256, runs.decision_sha256, runs.status, runs.tasks, runs.workflow_run_id,
    runs.recorded_at, runs.closed_at, runs.failure_type, runs.failure_message, runs.closed_by,
    runs.close_reason
FROM run_subjects AS subjects
JOIN runs ON runs.namespace = subjects.namespace AND runs.run_id = subjects.run_id
WHERE subjects.namespace = $1 AND subjects.subject = $6
    AND runs.position < (SELECT COALESCE($2::bigint, 9223372036854775807))
    AND ($3::text IS NULL OR runs.definition_id = $3)
    AND ($4::text IS NULL OR runs.status = $4)
ORDER BY runs.position DESC
LIMIT $5;

-- name: tasks_of_run
SELECT
    namespace, task_id, position, run_id, definition_id, rule, key, type, status, version, handler,
    title, assigned_users, assigned_groups, claimed_by, claimed_at, created_at, due_at, remind_at,
    escalates_at, expires_at, closed_at, closed_by, input, form, output, failure_type,
    failure_message, generation
FROM tasks
WHERE namespace = $1 AND run_id = $2
ORDER BY position;

-- name: claim_request
INSERT INTO requests (namespace, method, request_id, fingerprint, actor, reason)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT ON CONSTRAINT requests_pkey DO NOTHING
RETURNING request_id;

-- name: request_fingerprint
SELECT fingerprint FROM requests WHERE namespace = $1 AND method = $2 AND request_id = $3;

-- name: hold_runs
-- Whoever writes runs, tasks or events waits, and none is under way, until the transaction ends.
LOCK TABLE stream_heads, runs, tasks, task_changes, run_retries, failure_calls, instances
IN EXCLUSIVE MODE;

-- name: empty_task_changes
-- A batch at a time: no statement takes long.
DELETE FROM task_changes WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM task_changes WHERE namespace = $1 LIMIT 10000
));

-- name: empty_tasks
DELETE FROM tasks WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM tasks WHERE namespace = $1 LIMIT 10000
));

-- name: empty_run_retries
DELETE FROM run_retries WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM run_retries WHERE namespace = $1 LIMIT 10000
));

-- name: empty_failure_calls
DELETE FROM failure_calls WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM failure_calls WHERE namespace = $1 LIMIT 10000
));

-- name: empty_instances
DELETE FROM instances WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM instances WHERE namespace = $1 LIMIT 10000
));

-- name: empty_runs
DELETE FROM runs WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM runs WHERE namespace = $1 LIMIT 10000
));
