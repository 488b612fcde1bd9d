-- What somebody did to Schedules by hand, and that it was put back.

-- name: found
-- Found again before it was repaired, it stays the one that it is.
INSERT INTO schedule_drifts (namespace, definition_id, kind, differences, revision, found_at)
VALUES ($1, $2, $3, $4::jsonb, $5, clock_timestamp())
ON CONFLICT (namespace, definition_id) WHERE repaired_at IS NULL DO NOTHING
RETURNING drift_id;

-- name: forget
-- A few at a time, whenever one is found.
DELETE FROM schedule_drifts
WHERE namespace = $1 AND drift_id IN (
    SELECT drift_id FROM schedule_drifts
    WHERE namespace = $1 AND found_at < clock_timestamp() - $2::interval
        AND repaired_at IS NOT NULL
    ORDER BY found_at
    LIMIT 10
);

-- name: repaired
UPDATE schedule_drifts SET repaired_at = clock_timestamp()
WHERE namespace = $1 AND definition_id = $2 AND repaired_at IS NULL
RETURNING kind;

-- name: open
SELECT definition_id FROM schedule_drifts WHERE namespace = $1 AND repaired_at IS NULL;

-- name: page
-- Newest first; of one definition, or of all.
SELECT drift_id, definition_id, kind, differences, revision, found_at, repaired_at
FROM schedule_drifts
WHERE namespace = $1
    AND ($2 = '' OR definition_id = $2)
    AND ($3::bigint IS NULL OR drift_id < $3)
ORDER BY drift_id DESC
LIMIT $4;
