-- name: now
SELECT clock_timestamp();

-- name: lock
-- Who throws, resets or selects in a namespace does so after another.
SELECT pg_advisory_xact_lock(hashtextextended('kill_switches:' || $1, 0));

-- name: thrown
SELECT switch_id, position, point, labels, thrown_at, thrown_by, reason, selected_revision,
    reset_at, reset_by, reset_reason,
    (
        SELECT count(*) FROM halted_definitions
        WHERE halted_definitions.namespace = $1
            AND halted_definitions.switch_id = kill_switches.switch_id
    ) AS definitions
FROM kill_switches
WHERE namespace = $1 AND reset_at IS NULL
ORDER BY position;

-- name: get
SELECT switch_id, position, point, labels, thrown_at, thrown_by, reason, selected_revision,
    reset_at, reset_by, reset_reason,
    (
        SELECT count(*) FROM halted_definitions
        WHERE halted_definitions.namespace = $1
            AND halted_definitions.switch_id = kill_switches.switch_id
    ) AS definitions
FROM kill_switches
WHERE namespace = $1 AND switch_id = $2;

-- name: page
-- The newest first, from before a position; $3: those that were reset too.
SELECT switch_id, position, point, labels, thrown_at, thrown_by, reason, selected_revision,
    reset_at, reset_by, reset_reason,
    (
        SELECT count(*) FROM halted_definitions
        WHERE halted_definitions.namespace = $1
            AND halted_definitions.switch_id = kill_switches.switch_id
    ) AS definitions
FROM kill_switches
WHERE namespace = $1 AND position < $2 AND ($3 OR reset_at IS NULL)
ORDER BY position DESC
LIMIT $4;

-- name: add
INSERT INTO kill_switches (namespace, switch_id, point, labels, thrown_at, thrown_by, reason)
VALUES ($1, $2, $3, $4::text::jsonb, $5, $6, $7);

-- name: reset
UPDATE kill_switches
SET reset_at = $3, reset_by = $4, reset_reason = $5
WHERE namespace = $1 AND switch_id = $2;

-- name: halt
INSERT INTO halted_definitions (namespace, point, definition_id, switch_id)
SELECT $1, $2, definition_id, $3 FROM unnest($4::text[]) AS told (definition_id)
ON CONFLICT ON CONSTRAINT halted_definitions_pkey DO NOTHING;

-- name: release
-- All of a switch but those that it still selects.
DELETE FROM halted_definitions
WHERE namespace = $1 AND switch_id = $2 AND definition_id <> ALL($3::text[])
RETURNING definition_id;

-- name: selected
UPDATE kill_switches SET selected_revision = $3 WHERE namespace = $1 AND switch_id = $2;

-- name: halting
-- The switch that stops a definition at a point; the oldest, if several do.
SELECT switch_id, kill_switches.point, labels, thrown_by, reason
FROM halted_definitions JOIN kill_switches USING (namespace, switch_id)
WHERE namespace = $1 AND halted_definitions.point = $2
    AND halted_definitions.definition_id IN ($3, '*')
ORDER BY position
LIMIT 1;

-- name: halted_waiting
-- The definitions of which events wait that a switch had wait, thrown or reset by now.
SELECT DISTINCT definition_id
FROM pending_starts
WHERE namespace = $1 AND reason = 'halted'
ORDER BY definition_id
LIMIT $2;

-- name: look_again
-- What waits of these definitions is looked at now; null for all.
UPDATE pending_definitions
SET next_look_at = clock_timestamp()
WHERE namespace = $1 AND waiting > 0
    AND ($2::text[] IS NULL OR definition_id = ANY($2));
