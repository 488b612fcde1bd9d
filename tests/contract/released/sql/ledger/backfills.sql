-- name: create
INSERT INTO backfills (
    namespace, backfill_id, definition_id, definition_version, from_at, to_at, mode, start_order,
    concurrency, plan_chain, due_times, starts, created_by, created_reason
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT ON CONSTRAINT backfills_pkey DO NOTHING
RETURNING backfill_id;

-- name: add_due_time
INSERT INTO backfill_due_times (
    namespace, backfill_id, ordinal, definition_id, due_at, names, window_start, window_end, standing,
    step, run_id, outcome, told
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: get
SELECT
    backfill_id, position, state, definition_id, definition_version, from_at, to_at, mode,
    start_order, concurrency, plan_chain, due_times, starts, created_at, created_by, created_reason,
    changed_at, changed_by, changed_reason, finished_at
FROM backfills
WHERE namespace = $1 AND backfill_id = $2;

-- name: lock
SELECT
    backfill_id, position, state, definition_id, definition_version, from_at, to_at, mode,
    start_order, concurrency, plan_chain, due_times, starts, created_at, created_by, created_reason,
    changed_at, changed_by, changed_reason, finished_at
FROM backfills
WHERE namespace = $1 AND backfill_id = $2
FOR UPDATE;

-- name: page
SELECT
    backfill_id, position, state, definition_id, definition_version, from_at, to_at, mode,
    start_order, concurrency, plan_chain, due_times, starts, created_at, created_by, created_reason,
    changed_at, changed_by, changed_reason, finished_at
FROM backfills
WHERE namespace = $1 AND position < (SELECT COALESCE($2::bigint, 9223372036854775807))
    AND ($3 = '' OR definition_id = $3)
ORDER BY position DESC
LIMIT $4;

-- name: tallies
-- What is begun counts by what its run has come to by now.
SELECT
    CASE WHEN told.outcome = 'begun' AND runs.closed_at IS NOT NULL THEN runs.status
        ELSE told.outcome END AS outcome,
    CASE WHEN told.step = 'leave' THEN told.standing ELSE '' END AS standing,
    count(*)::integer AS due_times
FROM backfill_due_times AS told
LEFT JOIN runs ON runs.namespace = told.namespace AND runs.run_id = told.run_id
WHERE told.namespace = $1 AND told.backfill_id = $2
GROUP BY 1, 2
ORDER BY 1, 2;

-- name: due_times
SELECT
    told.ordinal, told.due_at, told.names, told.window_start, told.window_end, told.standing,
    told.step, told.run_id, told.told,
    CASE WHEN told.outcome = 'begun' AND runs.closed_at IS NOT NULL THEN runs.status
        ELSE told.outcome END AS outcome
FROM backfill_due_times AS told
LEFT JOIN runs ON runs.namespace = told.namespace AND runs.run_id = told.run_id
WHERE told.namespace = $1 AND told.backfill_id = $2 AND told.ordinal >= $3
ORDER BY told.ordinal
LIMIT $4;

-- name: found
-- What is known of instants: the row that holds each (of a stretch, the one that begins before it),
-- its newest run, whether its trigger key was taken, and whether another backfill has begun it.
SELECT
    accounted.outcome, COALESCE(retried.run_id, wanted.run_id) AS run_id, runs.status,
    EXISTS (
        SELECT FROM trigger_keys
        WHERE trigger_keys.namespace = $1 AND trigger_keys.definition_id = $2
            AND trigger_keys.trigger_key = wanted.trigger_key
    ) AS claimed,
    retried.run_id IS NOT NULL OR EXISTS (
        SELECT FROM backfill_due_times AS other
        WHERE other.namespace = $1 AND other.definition_id = $2 AND other.due_at = wanted.due_at
            AND other.begun_at IS NOT NULL AND other.outcome = 'begun'
    ) AS started
FROM unnest($3::timestamptz[], $4::text[], $5::text[]) WITH ORDINALITY
    AS wanted (due_at, trigger_key, run_id, index)
LEFT JOIN LATERAL (
    SELECT outcome, COALESCE(last_due_at, due_at) AS last_due_at
    FROM due_times
    WHERE namespace = $1 AND definition_id = $2 AND due_at <= wanted.due_at
    ORDER BY due_at DESC
    LIMIT 1
) AS accounted ON accounted.last_due_at >= wanted.due_at
LEFT JOIN LATERAL (
    SELECT run_id
    FROM run_retries
    WHERE namespace = $1 AND root_run_id = wanted.run_id
    ORDER BY number DESC
    LIMIT 1
) AS retried ON true
LEFT JOIN runs ON runs.namespace = $1 AND runs.run_id = COALESCE(retried.run_id, wanted.run_id)
ORDER BY wanted.index;

-- name: change
UPDATE backfills
SET state = $3, changed_at = clock_timestamp(), changed_by = $4, changed_reason = $5,
    next_look_at = CASE WHEN $3 = 'running' THEN clock_timestamp() END,
    finished_at = CASE WHEN $3 = 'cancelled' THEN clock_timestamp() END
WHERE namespace = $1 AND backfill_id = $2;

-- name: give_up
UPDATE backfill_due_times
SET outcome = 'left', told = $3
WHERE namespace = $1 AND backfill_id = $2 AND outcome = 'planned';

-- name: is_due
SELECT EXISTS (
    SELECT FROM backfills
    WHERE namespace = $1 AND state = 'running' AND next_look_at <= clock_timestamp()
);

-- name: due
-- Whoever holds one carries it out: others take another, or none.
SELECT
    backfill_id, position, state, definition_id, definition_version, from_at, to_at, mode,
    start_order, concurrency, plan_chain, due_times, starts, created_at, created_by, created_reason,
    changed_at, changed_by, changed_reason, finished_at
FROM backfills
WHERE namespace = $1 AND state = 'running' AND next_look_at <= clock_timestamp()
ORDER BY next_look_at
LIMIT 1
FOR UPDATE SKIP LOCKED;

-- name: settle
-- What runs have come to that are closed.
UPDATE backfill_due_times AS told
SET outcome = runs.status
FROM runs
WHERE told.namespace = $1 AND told.backfill_id = $2 AND told.outcome = 'begun'
    AND runs.namespace = told.namespace AND runs.run_id = told.run_id
    AND runs.closed_at IS NOT NULL;

-- name: begun_by
-- The newest backfill that has begun an instant, and the run that it made of it.
SELECT backfill_id, run_id
FROM backfill_due_times
WHERE namespace = $1 AND definition_id = $2 AND due_at = $3 AND begun_at IS NOT NULL
ORDER BY begun_at DESC
LIMIT 1;

-- name: open
SELECT count(*)::integer
FROM backfill_due_times
WHERE namespace = $1 AND backfill_id = $2 AND outcome = 'begun';

-- name: next
SELECT
    ordinal, due_at, names, window_start, window_end, standing, step, run_id, outcome, told
FROM backfill_due_times
WHERE namespace = $1 AND backfill_id = $2 AND outcome = 'planned'
ORDER BY ordinal
LIMIT $3;

-- name: begun
UPDATE backfill_due_times
SET outcome = 'begun', run_id = $4, step = $5, begun_at = clock_timestamp()
WHERE namespace = $1 AND backfill_id = $2 AND ordinal = $3;

-- name: left
UPDATE backfill_due_times
SET outcome = 'left', told = $4
WHERE namespace = $1 AND backfill_id = $2 AND ordinal = $3;

-- name: look_again
UPDATE backfills SET next_look_at = clock_timestamp() + $3::interval
WHERE namespace = $1 AND backfill_id = $2;

-- name: finish
UPDATE backfills SET state = 'finished', finished_at = clock_timestamp(), next_look_at = NULL
WHERE namespace = $1 AND backfill_id = $2;

-- name: forget
-- Plans that nobody applied, and what ended long ago.
DELETE FROM backfills
WHERE namespace = $1 AND (
    (state = 'planned' AND created_at < clock_timestamp() - $2::interval)
    OR finished_at < clock_timestamp() - $3::interval
);
