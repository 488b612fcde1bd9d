-- name: create
INSERT INTO replays (
    namespace, replay_id, topic, from_at, to_at, definition_ids, mode, max_starts_per_second,
    stretches, records_total, plan_chain, created_by, created_reason, state
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, $10, $11, $12, $13, $14)
ON CONFLICT ON CONSTRAINT replays_pkey DO NOTHING;

-- name: get
SELECT
    replay_id, position, state, topic, from_at, to_at, definition_ids, mode,
    max_starts_per_second, stretches::text AS stretches, records_total, records, unrouted,
    plan_chain, starts, events, bytes, begun, open_events, created_at, created_by, created_reason,
    changed_at, changed_by, changed_reason, finished_at
FROM replays
WHERE namespace = $1 AND replay_id = $2;

-- name: lock
SELECT
    replay_id, position, state, topic, from_at, to_at, definition_ids, mode,
    max_starts_per_second, stretches::text AS stretches, records_total, records, unrouted,
    plan_chain, starts, events, bytes, begun, open_events, created_at, created_by, created_reason,
    changed_at, changed_by, changed_reason, finished_at
FROM replays
WHERE namespace = $1 AND replay_id = $2
FOR UPDATE;

-- name: page
SELECT
    replay_id, position, state, topic, from_at, to_at, definition_ids, mode,
    max_starts_per_second, stretches::text AS stretches, records_total, records, unrouted,
    plan_chain, starts, events, bytes, begun, open_events, created_at, created_by, created_reason,
    changed_at, changed_by, changed_reason, finished_at
FROM replays
WHERE namespace = $1 AND position < (SELECT COALESCE($2::bigint, 9223372036854775807))
ORDER BY position DESC
LIMIT $3;

-- name: definitions
SELECT
    definition_id, definition_version, task_queue, max_open_runs, max_runs, max_runs_window, starts
FROM replay_definitions
WHERE namespace = $1 AND replay_id = $2
ORDER BY definition_id;

-- name: put_definition
INSERT INTO replay_definitions AS known (
    namespace, replay_id, definition_id, definition_version, task_queue, max_open_runs, max_runs,
    max_runs_window, starts
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT ON CONSTRAINT replay_definitions_pkey DO UPDATE
    SET starts = known.starts + excluded.starts;

-- name: tallies
SELECT definition_id, phase, outcome, events
FROM replay_tallies
WHERE namespace = $1 AND replay_id = $2
ORDER BY definition_id, phase, events DESC, outcome;

-- name: tally
-- In one order, so that nobody waits in a circle.
INSERT INTO replay_tallies AS known (
    namespace, replay_id, definition_id, phase, outcome, events
)
SELECT $1, told.replay_id, told.definition_id, told.phase, told.outcome, told.events
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
    AS told (replay_id, definition_id, phase, outcome, events)
ORDER BY told.replay_id, told.definition_id, told.phase, told.outcome
ON CONFLICT ON CONSTRAINT replay_tallies_pkey DO UPDATE
    SET events = known.events + excluded.events;

-- name: known_events
-- Which of these are part of the plan already.
SELECT (wanted.index - 1)::integer AS index
FROM unnest($3::text[], $4::text[], $5::text[]) WITH ORDINALITY
    AS wanted (definition_id, source, event_id, index)
    JOIN replay_events USING (definition_id, source, event_id)
WHERE replay_events.namespace = $1 AND replay_events.replay_id = $2;

-- name: digests
-- Of the bytes that stand for these events.
SELECT event_key, digest
FROM routed_events
WHERE namespace = $1 AND event_key = ANY($2::text[]);

-- name: standings
-- What became of events for definitions, the newest first: what waits, and runs with their state. The
-- cause $6 is left out. Decisions are found by looks into an index, as in `known_decisions`.
WITH wanted AS MATERIALIZED (
    SELECT definition_id, source, event_id, event_key, (index - 1)::integer AS index
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
        AS wanted (definition_id, source, event_id, event_key, index)
), told AS MATERIALIZED (
    SELECT wanted.index, found.outcome, found.run_id, found.at
    FROM wanted
    CROSS JOIN LATERAL (
        SELECT outcome, run_id, COALESCE(settled_at, decided_at) AS at, definition_id, cause
        FROM routing_decisions AS decision
        WHERE decision.namespace = $1 AND decision.event_id = wanted.event_id
            AND decision.source = wanted.source
            AND decision.outcome IN ('started', 'signalled', 'held', 'batched', 'limited')
        OFFSET 0
    ) AS found
    WHERE found.definition_id = wanted.definition_id AND found.cause <> $6
    UNION ALL
    SELECT wanted.index, 'started', claimed.run_id, claimed.recorded_at
    FROM wanted
    JOIN trigger_keys AS claimed
        ON claimed.namespace = $1 AND claimed.definition_id = wanted.definition_id
        AND claimed.trigger_key = wanted.event_key
)
SELECT told.index, told.outcome, runs.status
FROM told LEFT JOIN runs ON runs.namespace = $1 AND runs.run_id = told.run_id
ORDER BY told.index, COALESCE(runs.recorded_at, told.at) DESC;

-- name: latest_starts
-- The newest start of each of these definitions and keys.
SELECT DISTINCT ON (start.definition_id, start.key)
    start.ordinal, start.pending_id, start.definition_id, start.key, start.batch_max_events,
    start.events, start.bytes
FROM unnest($3::text[], $4::text[]) AS wanted (definition_id, key)
    JOIN replay_starts AS start USING (definition_id, key)
WHERE start.namespace = $1 AND start.replay_id = $2
ORDER BY start.definition_id, start.key, start.ordinal DESC;

-- name: put_start
INSERT INTO replay_starts (
    namespace, replay_id, ordinal, pending_id, definition_id, key, batch_max_events, events, bytes
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT ON CONSTRAINT replay_starts_pkey DO UPDATE
    SET events = excluded.events, bytes = excluded.bytes;

-- name: add_event
INSERT INTO replay_events (
    namespace, replay_id, definition_id, source, event_id, ordinal, place_in_start, type, partition,
    record_offset, digest, registry_revision, trigger_names, envelope
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: added
UPDATE replays
SET stretches = $3::text::jsonb, records = records + $4, unrouted = unrouted + $5, plan_chain = $6,
    starts = starts + $7, events = events + $8, bytes = bytes + $9,
    state = CASE WHEN $10 THEN 'planned' ELSE state END
WHERE namespace = $1 AND replay_id = $2;

-- name: change
UPDATE replays
SET state = $3, changed_at = clock_timestamp(), changed_by = $4, changed_reason = $5,
    next_look_at = CASE WHEN $3 = 'running' THEN clock_timestamp() END,
    finished_at = CASE WHEN $3 = 'cancelled' THEN clock_timestamp() END
WHERE namespace = $1 AND replay_id = $2;

-- name: drop_starts
DELETE FROM replay_starts WHERE namespace = $1 AND replay_id = $2;

-- name: drop_envelopes
UPDATE replay_events SET envelope = NULL
WHERE namespace = $1 AND replay_id = $2 AND envelope IS NOT NULL;

-- name: next_look
SELECT min(next_look_at) AS at, COALESCE(min(next_look_at) <= clock_timestamp(), false) AS is_due
FROM replays
WHERE namespace = $1 AND state = 'running';

-- name: due
-- No row is locked: whoever tells what became of a start holds its definition's lock, and waits for
-- this row. The advisory lock keeps others out who would begin the same starts.
SELECT
    replay_id, position, state, topic, from_at, to_at, definition_ids, mode,
    max_starts_per_second, stretches::text AS stretches, records_total, records, unrouted,
    plan_chain, starts, events, bytes, begun, open_events, created_at, created_by, created_reason,
    changed_at, changed_by, changed_reason, finished_at
FROM (
    SELECT * FROM replays
    WHERE namespace = $1 AND state = 'running' AND next_look_at <= clock_timestamp()
    ORDER BY next_look_at
    LIMIT 10
) AS due
WHERE pg_try_advisory_xact_lock(hashtextextended(namespace || ' replay ' || replay_id, 0))
LIMIT 1;

-- name: starts
SELECT ordinal, pending_id, definition_id, key, batch_max_events, events, bytes
FROM replay_starts
WHERE namespace = $1 AND replay_id = $2 AND ordinal >= $3
ORDER BY ordinal
LIMIT $4;

-- name: events_of
SELECT
    definition_id, source, event_id, ordinal, type, partition, record_offset, digest,
    registry_revision, trigger_names, envelope
FROM replay_events
WHERE namespace = $1 AND replay_id = $2 AND ordinal = ANY($3::bigint[])
ORDER BY ordinal, place_in_start;

-- name: waiting
SELECT COALESCE(max(waiting), 0)
FROM pending_definitions
WHERE namespace = $1 AND definition_id = ANY($2::text[]);

-- name: forget_starts
WITH gone AS (
    DELETE FROM replay_starts
    WHERE namespace = $1 AND replay_id = $2 AND ordinal = ANY($3::bigint[])
    RETURNING ordinal
)
UPDATE replay_events SET envelope = NULL
FROM gone
WHERE replay_events.namespace = $1 AND replay_events.replay_id = $2
    AND replay_events.ordinal = gone.ordinal;

-- name: begun
-- Nothing when it was paused or cancelled meanwhile: then nothing of it is begun.
UPDATE replays
SET begun = begun + $4, open_events = open_events + $5,
    next_look_at = clock_timestamp() + $6::interval
WHERE namespace = $1 AND replay_id = $2 AND begun = $3 AND state = 'running'
RETURNING replay_id;

-- name: finish
UPDATE replays SET state = 'finished', finished_at = clock_timestamp(), next_look_at = NULL
WHERE namespace = $1 AND replay_id = $2 AND state = 'running' AND begun = starts
    AND open_events = 0
RETURNING replay_id;

-- name: settled
UPDATE replays SET open_events = open_events - told.events
FROM unnest($2::text[], $3::bigint[]) AS told (replay_id, events)
WHERE replays.namespace = $1 AND replays.replay_id = told.replay_id;

-- name: forget
-- Plans that nobody applied, and what ended long ago.
DELETE FROM replays
WHERE namespace = $1 AND (
    (state IN ('planning', 'planned') AND created_at < clock_timestamp() - $2::interval)
    OR finished_at < clock_timestamp() - $3::interval
);
