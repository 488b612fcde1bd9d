-- name: now
SELECT clock_timestamp();

-- name: add_definitions
INSERT INTO pending_definitions (namespace, definition_id)
SELECT $1, definition_id FROM unnest($2::text[]) AS wanted (definition_id)
ORDER BY definition_id
ON CONFLICT ON CONSTRAINT pending_definitions_pkey DO NOTHING;

-- name: lock_definitions
-- In one order for all writers. Everything that waits of a definition is changed under this lock.
SELECT definition_id, waiting, max_open_runs, max_runs, max_runs_window, handed_out_until,
    handed_out, released_revision, released_choice
FROM pending_definitions
WHERE namespace = $1 AND definition_id = ANY($2)
ORDER BY definition_id
FOR UPDATE;

-- name: take_limits
UPDATE pending_definitions
SET max_open_runs = $3, max_runs = $4, max_runs_window = $5
WHERE namespace = $1 AND definition_id = $2
    AND (max_open_runs, max_runs, max_runs_window) IS DISTINCT FROM ($3, $4, $5);

-- name: look_at
UPDATE pending_definitions
SET next_look_at = LEAST(next_look_at, $3)
WHERE namespace = $1 AND definition_id = $2;

-- name: count_waiting
UPDATE pending_definitions
SET waiting = waiting + $3
WHERE namespace = $1 AND definition_id = $2;

-- name: known_events
-- Which of these wait already.
SELECT (wanted.index - 1)::integer AS index
FROM unnest($3::text[], $4::integer[], $5::bigint[], $6::text[]) WITH ORDINALITY
    AS wanted (topic, partition, record_offset, cause, index)
    JOIN pending_events USING (topic, partition, record_offset, cause)
WHERE pending_events.namespace = $1 AND pending_events.definition_id = $2;

-- name: gathering
SELECT key, pending_id, events, bytes
FROM pending_starts
WHERE namespace = $1 AND definition_id = $2 AND gathering AND key = ANY($3);

-- name: add_start
INSERT INTO pending_starts (
    namespace, pending_id, definition_id, key, reason, as_one_run, gathering, definition_version,
    definition_revision, task_queue, batch_max_events, events, bytes, queued_at, due_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- name: grow
-- The newest event says by which version and on which queue its batch is a run.
UPDATE pending_starts
SET events = $3, bytes = $4, gathering = $5, due_at = LEAST(due_at, $6),
    definition_version = COALESCE($7, definition_version),
    definition_revision = COALESCE($8, definition_revision),
    task_queue = COALESCE($9, task_queue)
WHERE namespace = $1 AND pending_id = $2;

-- name: add_event
INSERT INTO pending_events (
    namespace, pending_id, definition_id, topic, partition, record_offset, cause, trigger_names,
    envelope, queued_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: oldest
-- What is given up first; what was handed out may have been started and is kept.
SELECT pending_events.pending_id, ordinal, topic, partition,
    record_offset, cause
FROM pending_events JOIN pending_starts USING (namespace, pending_id)
WHERE pending_events.namespace = $1 AND pending_events.definition_id = $2 AND attempts = 0
    AND pending_events.queued_at < $3
ORDER BY ordinal
LIMIT $4;

-- name: give_up
WITH gone AS (
    DELETE FROM pending_events
    USING unnest($2::text[], $3::bigint[]) AS given_up (pending_id, ordinal)
    WHERE pending_events.namespace = $1
        AND pending_events.pending_id = given_up.pending_id
        AND pending_events.ordinal = given_up.ordinal
    RETURNING pending_events.pending_id
), counted AS (
    SELECT pending_id, count(*)::integer AS events FROM gone GROUP BY pending_id
), emptied AS (
    DELETE FROM pending_starts USING counted
    WHERE pending_starts.namespace = $1 AND pending_starts.pending_id = counted.pending_id
        AND pending_starts.events <= counted.events
)
UPDATE pending_starts SET events = pending_starts.events - counted.events
FROM counted
WHERE pending_starts.namespace = $1 AND pending_starts.pending_id = counted.pending_id
    AND pending_starts.events > counted.events;

-- name: overaged
SELECT DISTINCT definition_id
FROM (
    SELECT definition_id
    FROM pending_events
    WHERE namespace = $1 AND queued_at < $2
    ORDER BY queued_at
    LIMIT 1000
) AS old;

-- name: waiting
SELECT (wanted.index - 1)::integer AS index
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS wanted (definition_id, key, index)
WHERE EXISTS (
    SELECT FROM pending_starts
    WHERE namespace = $1 AND pending_starts.definition_id = wanted.definition_id
        AND pending_starts.key = wanted.key
) OR EXISTS (
    SELECT FROM pending_starts
    WHERE namespace = $1 AND pending_starts.definition_id = wanted.definition_id AND all_keys
)
ORDER BY wanted.index;

-- name: lock_due
-- Several dispatchers look at once: each at what no other is looking at.
SELECT definition_id, waiting, max_open_runs, max_runs, max_runs_window, handed_out_until,
    handed_out, released_revision, released_choice
FROM pending_definitions
WHERE namespace = $1 AND next_look_at <= $2
    -- What a kill switch stops is not handed out.
    AND NOT EXISTS (
        SELECT FROM halted_definitions AS halted
        WHERE halted.namespace = $1 AND halted.point = 'run'
            AND halted.definition_id IN (pending_definitions.definition_id, '*')
    )
ORDER BY next_look_at
LIMIT $3
FOR UPDATE SKIP LOCKED;

-- name: next_look
SELECT min(next_look_at)
FROM pending_definitions
WHERE namespace = $1
    AND NOT EXISTS (
        SELECT FROM halted_definitions AS halted
        WHERE halted.namespace = $1 AND halted.point = 'run'
            AND halted.definition_id IN (pending_definitions.definition_id, '*')
    );

-- name: forget_closed
DELETE FROM pending_runs USING runs
WHERE pending_runs.namespace = $1 AND pending_runs.definition_id = $2
    AND runs.namespace = pending_runs.namespace AND runs.run_id = pending_runs.run_id
    AND runs.closed_at IS NOT NULL;

-- name: claimable
-- What is due, leased to nobody, and not behind something of its key that is not so itself. $4 is how
-- many runs of a key may be open at a time, 0 for any number. What was handed out, and is neither told
-- of nor handed out again, may be open.
WITH open_runs AS (
    SELECT key, count(*)::integer AS number
    FROM (
        SELECT key FROM pending_runs WHERE namespace = $1 AND definition_id = $2
        UNION ALL
        SELECT key FROM pending_starts
        WHERE namespace = $1 AND definition_id = $2
            AND (leased_until > $3 OR (attempts > 0 AND due_at > $3))
    ) AS open
    GROUP BY key
)
SELECT start.pending_id, start.key, start.bytes, start.attempts,
    COALESCE(open_runs.number, 0) AS open_runs
FROM pending_starts AS start LEFT JOIN open_runs USING (key)
WHERE start.namespace = $1 AND start.definition_id = $2
    AND start.due_at <= $3
    AND (start.leased_until IS NULL OR start.leased_until <= $3)
    AND ($4 = 0 OR COALESCE(open_runs.number, 0) < $4)
    AND (start.key = '' OR NOT EXISTS (
        SELECT FROM pending_starts AS earlier
        WHERE earlier.namespace = $1 AND earlier.definition_id = $2
            AND earlier.key = start.key AND earlier.position < start.position
            AND (earlier.due_at IS NULL OR earlier.due_at > $3 OR earlier.leased_until > $3)
    ))
    AND NOT EXISTS (
        SELECT FROM pending_starts AS earlier
        WHERE earlier.namespace = $1 AND earlier.definition_id = $2
            AND earlier.all_keys AND earlier.position < start.position
    )
    AND (NOT start.all_keys OR NOT EXISTS (
        SELECT FROM pending_starts AS earlier
        WHERE earlier.namespace = $1 AND earlier.definition_id = $2
            AND earlier.position < start.position
    ))
ORDER BY start.position
LIMIT $5;

-- name: lease
UPDATE pending_starts
SET lease = $3, leased_until = $4, attempts = attempts + 1, gathering = false
WHERE namespace = $1 AND pending_id = ANY($2)
RETURNING
    pending_id, position, definition_id, definition_version, task_queue, key, reason, as_one_run,
    events AS event_count, queued_at, due_at, attempts, lease;

-- name: events_of
-- $3: with their envelopes.
SELECT pending_id, topic, partition, record_offset, cause, trigger_names,
    CASE WHEN $3 THEN envelope ELSE '' END AS envelope
FROM pending_events
WHERE namespace = $1 AND pending_id = ANY($2)
ORDER BY pending_id, ordinal;

-- name: looked_at
-- When to look again: now if that is said, when something is due or a lease ends, and after a while
-- for what is due and behind something else. What is held and what is leased for good asks for none.
UPDATE pending_definitions
SET handed_out_until = $3, handed_out = $4,
    next_look_at = LEAST($5, (
        SELECT min(CASE
            WHEN leased_until > $6 THEN leased_until
            WHEN due_at > $6 THEN due_at
            ELSE $7
        END)
        FROM pending_starts
        WHERE pending_starts.namespace = $1 AND pending_starts.definition_id = $2
            AND due_at IS NOT NULL
    ))
WHERE namespace = $1 AND definition_id = $2;

-- name: definitions_of
SELECT DISTINCT definition_id
FROM pending_starts
WHERE namespace = $1 AND pending_id = ANY($2);

-- name: starts
SELECT
    pending_id, position, definition_id, definition_version, task_queue, key, reason, as_one_run,
    events AS event_count, queued_at, due_at, attempts, lease
FROM pending_starts
WHERE namespace = $1 AND pending_id = ANY($2);

-- name: remove
DELETE FROM pending_starts WHERE namespace = $1 AND pending_id = ANY($2);

-- name: put_back
UPDATE pending_starts
SET lease = NULL, leased_until = NULL, due_at = $3
WHERE namespace = $1 AND pending_id = $2;

-- name: hold
UPDATE pending_starts
SET lease = NULL, leased_until = NULL, due_at = NULL, reason = 'held', definition_revision = $3
WHERE namespace = $1 AND pending_id = $2;

-- name: add_run
-- One that has closed in the meantime is taken away when it is next counted.
INSERT INTO pending_runs (namespace, run_id, definition_id, key, started_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT ON CONSTRAINT pending_runs_pkey DO NOTHING;

-- name: held
-- With how many starts that are not to be released stand before each: in all, and of its key.
SELECT pending_id, key, events, bytes, batch_max_events, behind, behind_of_key
FROM (
    SELECT
        pending_id, key, events, bytes, batch_max_events, position, releasable,
        count(*) FILTER (WHERE NOT releasable) OVER (ORDER BY position) AS behind,
        count(*) FILTER (WHERE NOT releasable) OVER (PARTITION BY key ORDER BY position)
            AS behind_of_key
    FROM (
        SELECT *, due_at IS NULL AND definition_revision < $3 AS releasable
        FROM pending_starts
        WHERE namespace = $1 AND definition_id = $2
    ) AS waiting
) AS placed
WHERE releasable
ORDER BY position;

-- name: released
UPDATE pending_definitions
SET released_revision = $3, released_choice = $4
WHERE namespace = $1 AND definition_id = $2;

-- name: release
UPDATE pending_starts SET due_at = $3 WHERE namespace = $1 AND pending_id = ANY($2);

-- name: move_events
UPDATE pending_events SET pending_id = $2 WHERE namespace = $1 AND pending_id = ANY($3);

-- name: join_starts
-- What was several starts is one, in the place of the first.
UPDATE pending_starts
SET events = $3, bytes = $4, as_one_run = true, all_keys = $5, due_at = $6,
    key = CASE WHEN $5 THEN '' ELSE key END
WHERE namespace = $1 AND pending_id = $2;

-- name: page
-- $2: after this position, $3: definition, $4: reason; null for all.
SELECT
    pending_id, position, definition_id, definition_version, task_queue, key, reason, as_one_run,
    events AS event_count, queued_at, due_at, attempts, lease
FROM pending_starts
WHERE namespace = $1
    AND position > (SELECT COALESCE($2::bigint, 0))
    AND ($3::text IS NULL OR definition_id = $3)
    AND ($4::text IS NULL OR reason = $4)
ORDER BY position
LIMIT $5;
