-- name: recent_runs
-- How the runs since $2 stand, of the newest $3; `more` where there are more than were counted.
SELECT status, count(*) AS runs, bool_or(number = $3) AS more
FROM (
    SELECT status, recorded_at, row_number() OVER (ORDER BY position DESC) AS number
    FROM (
        SELECT status, recorded_at, position
        FROM runs
        WHERE namespace = $1
        ORDER BY position DESC
        LIMIT $3
    ) AS newest
) AS numbered
WHERE recorded_at >= $2
GROUP BY status;

-- name: open_runs
-- Up to $2 of them, by the index alone.
SELECT count(*) AS runs
FROM (SELECT FROM runs WHERE namespace = $1 AND closed_at IS NULL LIMIT $2) AS open;

-- name: failed_runs
-- Closed since $2, of the newest $3 that have failed.
SELECT count(*) AS runs
FROM (
    SELECT closed_at FROM runs
    WHERE namespace = $1 AND status = 'failed'
    ORDER BY position DESC
    LIMIT $3
) AS failed
WHERE closed_at >= $2;

-- name: failed_tasks
SELECT count(*) AS tasks
FROM (
    SELECT closed_at FROM tasks
    WHERE namespace = $1 AND status = 'failed'
    ORDER BY position DESC
    LIMIT $3
) AS failed
WHERE closed_at >= $2;

-- name: open_tasks
-- Up to $2 of each type, by indexes alone.
SELECT
    (
        SELECT count(*)
        FROM (
            SELECT FROM tasks WHERE namespace = $1 AND status = 'open' AND type = 'human' LIMIT $2
        ) AS human
    ) AS human,
    (
        SELECT count(*)
        FROM (
            SELECT FROM tasks
            WHERE namespace = $1 AND status = 'open' AND type = 'automated'
            LIMIT $2
        ) AS automated
    ) AS automated,
    (
        SELECT count(*)
        FROM (
            SELECT FROM tasks
            WHERE namespace = $1 AND status = 'open' AND type = 'human' AND claimed_by IS NOT NULL
            LIMIT $2
        ) AS claimed
    ) AS claimed,
    (
        SELECT count(*)
        FROM (
            SELECT FROM tasks
            WHERE namespace = $1 AND status = 'open' AND type = 'human'
                AND due_at < clock_timestamp()
            LIMIT $2
        ) AS overdue
    ) AS overdue,
    (
        SELECT created_at FROM tasks
        WHERE namespace = $1 AND status = 'open' AND type = 'human'
        ORDER BY position
        LIMIT 1
    ) AS human_oldest_at,
    (
        SELECT created_at FROM tasks
        WHERE namespace = $1 AND status = 'open' AND type = 'automated'
        ORDER BY position
        LIMIT 1
    ) AS automated_oldest_at;

-- name: pending_starts
-- The $2 oldest, by why they wait.
SELECT reason, count(*) AS starts, min(queued_at) AS oldest_at
FROM (
    SELECT reason, queued_at
    FROM pending_starts
    WHERE namespace = $1
    ORDER BY position
    LIMIT $2
) AS waiting
GROUP BY reason
ORDER BY reason;
