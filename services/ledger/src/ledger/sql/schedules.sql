-- name: begin
-- The cursor starts where the first epoch does: due times before it were never promised.
INSERT INTO schedule_cursors (namespace, definition_id, covered_until)
VALUES ($1, $2, $3)
ON CONFLICT ON CONSTRAINT schedule_cursors_pkey DO NOTHING;

-- name: lock_cursor
SELECT covered_until, clock_timestamp() AS now
FROM schedule_cursors
WHERE namespace = $1 AND definition_id = $2
FOR UPDATE;

-- name: move_cursor
UPDATE schedule_cursors SET covered_until = $3
WHERE namespace = $1 AND definition_id = $2 AND covered_until < $3;

-- name: latest_epoch
SELECT epoch, definition_version, schedules, task_queue, effective_from, enabled
FROM schedules
WHERE namespace = $1 AND definition_id = $2
ORDER BY epoch DESC
LIMIT 1;

-- name: epochs_since
-- The one in force at the cursor and all after it.
SELECT epoch, definition_version, schedules, task_queue, effective_from, enabled
FROM schedules
WHERE namespace = $1 AND definition_id = $2
    AND epoch >= COALESCE((
        SELECT max(at_cursor.epoch)
        FROM schedules AS at_cursor
        WHERE at_cursor.namespace = $1 AND at_cursor.definition_id = $2
            AND at_cursor.effective_from <= $3
    ), 0)
ORDER BY epoch;

-- name: add_epoch
INSERT INTO schedules (
    namespace, definition_id, epoch, definition_version, schedules, task_queue, effective_from,
    enabled, reason, actor
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: has_open_run
SELECT EXISTS (
    SELECT FROM due_times
    WHERE namespace = $1 AND definition_id = $2 AND outcome = 'run' AND run_closed_at IS NULL
);

-- name: add_due_time
-- First writer wins: a due time has one outcome for ever.
INSERT INTO due_times (
    namespace, definition_id, due_at, names, outcome, reason, run_id, definition_version,
    task_queue, window_start, window_end, coalesced, decided_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT ON CONSTRAINT due_times_pkey DO NOTHING;

-- name: lease
-- New ones; those of the same wake-up, whose answer got lost; those whose tick died.
WITH startable AS (
    SELECT due_at
    FROM due_times
    WHERE namespace = $1 AND definition_id = $2
        AND outcome = 'run' AND acknowledged_at IS NULL
        AND (leased_until IS NULL OR leased_until <= $3 OR leased_for = $5)
    ORDER BY due_at
    LIMIT $6
    FOR UPDATE
)
UPDATE due_times
SET leased_until = $4, leased_for = $5
FROM startable
WHERE due_times.namespace = $1 AND due_times.definition_id = $2
    AND due_times.due_at = startable.due_at
RETURNING
    due_times.due_at, due_times.names, due_times.run_id, due_times.definition_version,
    due_times.task_queue, due_times.window_start, due_times.window_end, due_times.coalesced;

-- name: acknowledge
UPDATE due_times
SET acknowledged_at = clock_timestamp()
WHERE namespace = $1 AND definition_id = $2 AND outcome = 'run' AND acknowledged_at IS NULL
    AND run_id = ANY($3);

-- name: close_run
UPDATE due_times
SET run_closed_at = $4
WHERE namespace = $1 AND definition_id = $2 AND outcome = 'run' AND run_closed_at IS NULL
    AND run_id = $3;

-- name: list_due_times
SELECT due_at, names, outcome, reason, run_id, decided_at, acknowledged_at
FROM due_times
WHERE namespace = $1 AND definition_id = $2 AND due_at < COALESCE($3::timestamptz, 'infinity')
ORDER BY due_at DESC
LIMIT $4;
