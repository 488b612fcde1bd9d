-- name: begin
-- The cursor starts where the first epoch does: due times before it were never promised.
INSERT INTO schedule_cursors (namespace, definition_id, covered_until)
VALUES ($1, $2, $3)
ON CONFLICT ON CONSTRAINT schedule_cursors_pkey DO NOTHING;

-- name: lock_cursor
SELECT
    covered_until, clock_timestamp() AS now,
    EXISTS (
        SELECT FROM schedule_pauses AS pauses
        WHERE pauses.namespace = $1 AND pauses.definition_id = $2 AND pauses.resumed_at IS NULL
    ) AS paused,
    EXISTS (
        SELECT FROM schedule_skips AS skips
        WHERE skips.namespace = $1 AND skips.definition_id = $2
            AND skips.due_at > schedule_cursors.covered_until
    ) AS has_skips
FROM schedule_cursors
WHERE namespace = $1 AND definition_id = $2
FOR UPDATE;

-- name: move_cursor
UPDATE schedule_cursors
SET covered_until = GREATEST(covered_until, $3), next_at = $4
WHERE namespace = $1 AND definition_id = $2
    AND (covered_until < $3 OR next_at IS DISTINCT FROM $4);

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

-- name: open_runs
SELECT
    due_at, names, run_id, definition_version, window_start, window_end, coalesced, asked_by,
    ask_reason
FROM due_times
WHERE namespace = $1 AND definition_id = $2 AND outcome = 'run' AND run_closed_at IS NULL
ORDER BY due_at
LIMIT $3;

-- name: await_open_runs
-- Whoever closes one of them changes the same row: either it sees this, or this sees it closed.
UPDATE due_times
SET awaited = true
WHERE namespace = $1 AND definition_id = $2 AND outcome = 'run' AND run_closed_at IS NULL
    AND NOT awaited;

-- name: has_open_run
SELECT EXISTS (
    SELECT FROM due_times
    WHERE namespace = $1 AND definition_id = $2 AND outcome = 'run' AND run_closed_at IS NULL
);

-- name: waiting
SELECT due_at, names, window_start
FROM due_times
WHERE namespace = $1 AND definition_id = $2 AND outcome = 'waiting'
ORDER BY due_at
LIMIT $3;

-- name: count_waiting
SELECT name, count(*) AS due_times
FROM due_times CROSS JOIN unnest(names) AS name
WHERE namespace = $1 AND definition_id = $2 AND outcome = 'waiting'
GROUP BY name;

-- name: add_due_time
-- First writer wins: a due time has one outcome for ever. What waits has none yet.
INSERT INTO due_times (
    namespace, definition_id, due_at, names, outcome, reason, run_id, definition_version,
    task_queue, window_start, window_end, coalesced, decided_at, last_due_at, due_count,
    request_id, asked_by, ask_reason
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
ON CONFLICT ON CONSTRAINT due_times_pkey DO UPDATE
SET names = EXCLUDED.names, outcome = EXCLUDED.outcome, reason = EXCLUDED.reason,
    run_id = EXCLUDED.run_id, definition_version = EXCLUDED.definition_version,
    task_queue = EXCLUDED.task_queue, window_start = EXCLUDED.window_start,
    window_end = EXCLUDED.window_end, coalesced = EXCLUDED.coalesced,
    decided_at = EXCLUDED.decided_at
WHERE due_times.outcome = 'waiting';

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
    due_times.task_queue, due_times.window_start, due_times.window_end, due_times.coalesced,
    due_times.asked_by, due_times.ask_reason;

-- name: acknowledge
UPDATE due_times
SET acknowledged_at = clock_timestamp()
WHERE namespace = $1 AND definition_id = $2 AND outcome = 'run' AND acknowledged_at IS NULL
    AND run_id = ANY($3);

-- name: close_run
-- What is closed was started, whether its tick lived to say so or not.
UPDATE due_times
SET run_closed_at = $4, acknowledged_at = COALESCE(acknowledged_at, $4)
WHERE namespace = $1 AND definition_id = $2 AND outcome = 'run' AND run_closed_at IS NULL
    AND run_id = $3
RETURNING awaited;

-- name: list_due_times
SELECT
    due_at, last_due_at, due_count AS count, names, outcome, reason, run_id, decided_at,
    acknowledged_at
FROM due_times
WHERE namespace = $1 AND definition_id = $2 AND due_at < (SELECT COALESCE($3::timestamptz, 'infinity'))
    AND COALESCE(last_due_at, due_at) >= COALESCE($4::timestamptz, '-infinity')
ORDER BY due_at DESC
LIMIT $5;

-- name: due_time_at
-- The row that holds an instant, and of a stretch the one that begins before it.
SELECT
    due_at, last_due_at, due_count AS count, names, outcome, reason, run_id, decided_at,
    acknowledged_at
FROM due_times
WHERE namespace = $1 AND definition_id = $2 AND due_at <= $3
ORDER BY due_at DESC
LIMIT 1;

-- name: due_time_by_request
SELECT
    due_at, last_due_at, due_count AS count, names, outcome, reason, run_id, decided_at,
    acknowledged_at
FROM due_times
WHERE namespace = $1 AND definition_id = $2 AND request_id = $3;

-- name: cursor
SELECT covered_until, next_at, clock_timestamp() AS now
FROM schedule_cursors
WHERE namespace = $1 AND definition_id = $2;

-- name: pauses_since
-- Those that were not over then.
SELECT paused_at, paused_by, pause_reason, resumed_at
FROM schedule_pauses
WHERE namespace = $1 AND definition_id = $2 AND COALESCE(resumed_at, 'infinity') > $3
ORDER BY paused_at;

-- name: pause
INSERT INTO schedule_pauses (namespace, definition_id, paused_at, paused_by, pause_reason)
VALUES ($1, $2, $3, $4, $5);

-- name: resume
UPDATE schedule_pauses
SET resumed_at = $3, resumed_by = $4, resume_reason = $5
WHERE namespace = $1 AND definition_id = $2 AND resumed_at IS NULL;

-- name: skips_after
SELECT due_at, actor, reason
FROM schedule_skips
WHERE namespace = $1 AND definition_id = $2 AND due_at > $3
ORDER BY due_at;

-- name: skip
INSERT INTO schedule_skips (
    namespace, definition_id, due_at, request_id, actor, reason, asked_at
) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: skip_by_request
SELECT due_at FROM schedule_skips
WHERE namespace = $1 AND definition_id = $2 AND request_id = $3;

-- name: overdue
-- A due time that nobody accounted for; a run that nobody started; one that waits for none.
WITH overdue AS (
    SELECT cursors.definition_id, cursors.next_at AS since
    FROM schedule_cursors AS cursors
    WHERE cursors.namespace = $1 AND cursors.next_at <= clock_timestamp() - $2::interval
        AND NOT EXISTS (
            SELECT FROM schedule_pauses AS pauses
            WHERE pauses.namespace = $1 AND pauses.definition_id = cursors.definition_id
                AND pauses.resumed_at IS NULL
        )
    UNION ALL
    SELECT definition_id, COALESCE(leased_until, decided_at)
    FROM due_times
    WHERE namespace = $1 AND outcome = 'run' AND acknowledged_at IS NULL
        AND COALESCE(leased_until, decided_at) <= clock_timestamp() - $2::interval
    UNION ALL
    SELECT waiting.definition_id, waiting.decided_at
    FROM due_times AS waiting
    JOIN schedule_cursors AS cursors
        ON cursors.namespace = waiting.namespace AND cursors.definition_id = waiting.definition_id
    WHERE waiting.namespace = $1 AND waiting.outcome = 'waiting'
        AND waiting.decided_at <= clock_timestamp() - $2::interval
        -- Of a disabled definition nothing is expected.
        AND cursors.next_at IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM due_times AS open
            WHERE open.namespace = $1 AND open.definition_id = waiting.definition_id
                AND open.outcome = 'run' AND open.run_closed_at IS NULL
        )
        AND NOT EXISTS (
            SELECT FROM schedule_pauses AS pauses
            WHERE pauses.namespace = $1 AND pauses.definition_id = waiting.definition_id
                AND pauses.resumed_at IS NULL
        )
)
SELECT definition_id, min(since) AS since
FROM overdue
-- What a kill switch stops is owed nothing until it is reset.
WHERE NOT EXISTS (
    SELECT FROM halted_definitions AS halted
    WHERE halted.namespace = $1 AND halted.point = 'run'
        AND halted.definition_id IN (overdue.definition_id, '*')
)
GROUP BY definition_id
ORDER BY since, definition_id
LIMIT $3;
