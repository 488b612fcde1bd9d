-- name: lock_shadow
-- Requests for one definition take turns. `active` is what `claim` of runs.sql asks too.
SELECT
    namespace, shadow_id, definition_id, definition_version, content, max_runs, decided,
    started_at, started_by, reason, expires_at, stopped_at, stopped_by,
    stop_reason,
    stopped_at IS NULL AND decided < max_runs AND expires_at > clock_timestamp() AS active
FROM shadows
WHERE namespace = $1 AND definition_id = $2
FOR UPDATE;

-- name: forget_shadow
-- By its id: another one that has come meanwhile stays.
DELETE FROM shadows WHERE namespace = $1 AND shadow_id = $2;

-- name: insert_shadow
-- Nothing where somebody else was faster: the lock finds no row that is not there yet.
INSERT INTO shadows (
    namespace, shadow_id, definition_id, definition_version, content, max_runs, started_by,
    reason, expires_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING;

-- name: stop_shadow
UPDATE shadows SET stopped_at = clock_timestamp(), stopped_by = $3, stop_reason = $4
WHERE namespace = $1 AND definition_id = $2;

-- name: get_shadow
SELECT
    namespace, shadow_id, definition_id, definition_version, content, max_runs, decided,
    started_at, started_by, reason, expires_at, stopped_at, stopped_by,
    stop_reason,
    stopped_at IS NULL AND decided < max_runs AND expires_at > clock_timestamp() AS active
FROM shadows
WHERE namespace = $1 AND shadow_id = $2;

-- name: list_shadows
-- $2: after this definition, $3: only this one; empty or null for all.
SELECT
    namespace, shadow_id, definition_id, definition_version, ''::bytea AS content, max_runs,
    decided, started_at, started_by, reason, expires_at, stopped_at, stopped_by,
    stop_reason,
    stopped_at IS NULL AND decided < max_runs AND expires_at > clock_timestamp() AS active
FROM shadows
WHERE namespace = $1 AND definition_id > $2 AND ($3::text IS NULL OR definition_id = $3)
ORDER BY definition_id
LIMIT $4;

-- name: record_decision
-- Nothing for a run or a shadow that is not there. The row of the shadow counts; locked first, it
-- cannot be forgotten meanwhile.
WITH shadow AS (
    SELECT shadow_id FROM shadows WHERE namespace = $1 AND shadow_id = $2 FOR NO KEY UPDATE
), recorded AS (
    INSERT INTO shadow_decisions (namespace, shadow_id, run_id, outcome, reason, decision)
    SELECT $1, shadow.shadow_id, $3, $4, $5, $6
    FROM shadow
    WHERE EXISTS (SELECT FROM runs WHERE namespace = $1 AND run_id = $3)
    ON CONFLICT ON CONSTRAINT shadow_decisions_pkey DO NOTHING
    RETURNING shadow_id
)
UPDATE shadows SET decided = decided + 1
FROM recorded
WHERE shadows.namespace = $1 AND shadows.shadow_id = recorded.shadow_id
RETURNING shadows.shadow_id;

-- name: list_decisions
-- $3: before this position.
SELECT run_id, position, outcome, reason, decision, recorded_at
FROM shadow_decisions
WHERE namespace = $1 AND shadow_id = $2
    AND position < (SELECT COALESCE($3::bigint, 9223372036854775807))
ORDER BY position DESC
LIMIT $4;
