-- name: now
SELECT clock_timestamp();

-- name: lock_instance
-- An advisory lock, since before the first event there is no row to lock.
SELECT pg_advisory_xact_lock(hashtextextended('instance ' || $1 || ' ' || $2 || ' ' || $3, 0));

-- name: newest_instance
SELECT
    namespace, definition_id, key_hash, generation, position, definition_version, sequence,
    state_sha256, status, last_run_id, started_at, changed_at, ended_at, timers
FROM instances
WHERE namespace = $1 AND definition_id = $2 AND key_hash = $3
ORDER BY generation DESC
LIMIT 1;

-- name: get_instance
SELECT
    namespace, definition_id, key_hash, generation, position, definition_version, sequence,
    state_sha256, status, last_run_id, started_at, changed_at, ended_at, timers
FROM instances
WHERE namespace = $1 AND definition_id = $2 AND key_hash = $3 AND generation = $4;

-- name: list_instances
-- $2: before this position, $3: definition, $4: status; null for all.
SELECT
    namespace, definition_id, key_hash, generation, position, definition_version, sequence,
    state_sha256, status, last_run_id, started_at, changed_at, ended_at, timers
FROM instances
WHERE namespace = $1
    AND position < (SELECT COALESCE($2::bigint, 9223372036854775807))
    AND ($3::text IS NULL OR definition_id = $3)
    AND ($4::text IS NULL OR status = $4)
ORDER BY position DESC
LIMIT $5;

-- name: put_instance
-- $11 is when the event was applied.
INSERT INTO instances (
    namespace, definition_id, key_hash, generation, position, definition_version, sequence,
    state_sha256, status, last_run_id, started_at, changed_at, ended_at, timers, next_timer_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13::jsonb, $14)
ON CONFLICT ON CONSTRAINT instances_pkey DO UPDATE
SET definition_version = EXCLUDED.definition_version,
    sequence = EXCLUDED.sequence,
    state_sha256 = EXCLUDED.state_sha256,
    status = EXCLUDED.status,
    last_run_id = EXCLUDED.last_run_id,
    changed_at = EXCLUDED.changed_at,
    ended_at = EXCLUDED.ended_at,
    timers = EXCLUDED.timers,
    next_timer_at = EXCLUDED.next_timer_at;

-- name: drop_timer
-- It fired and could not be applied: $5 is its name, $6 what has set it.
WITH kept AS (
    SELECT
        COALESCE(jsonb_agg(timer), '[]'::jsonb) AS timers,
        min((timer ->> 'due_at')::timestamptz) AS next_timer_at
    FROM instances CROSS JOIN jsonb_array_elements(timers) AS timer
    WHERE namespace = $1 AND definition_id = $2 AND key_hash = $3 AND generation = $4
        AND NOT (timer ->> 'name' = $5 AND (timer ->> 'sequence')::bigint = $6)
)
UPDATE instances
SET timers = kept.timers, next_timer_at = kept.next_timer_at
FROM kept
WHERE namespace = $1 AND definition_id = $2 AND key_hash = $3 AND generation = $4;

-- name: add_events
-- In their order; one that waits already stays, and one that was applied waits no more.
INSERT INTO instance_events (
    namespace, run_id, definition_id, key_hash, trigger_key, definition_version, trigger, topic,
    partition, record_offset, cause, queued_at
)
SELECT
    $1, run_id, definition_id, key_hash, trigger_key, definition_version, trigger, topic, partition,
    record_offset, cause, clock_timestamp()
FROM unnest(
    $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bytea[], $8::text[],
    $9::integer[], $10::bigint[], $11::text[]
) WITH ORDINALITY AS event (
    run_id, definition_id, key_hash, trigger_key, definition_version, trigger, topic, partition,
    record_offset, cause, ordinal
)
WHERE NOT EXISTS (
    SELECT FROM trigger_keys AS applied
    WHERE applied.namespace = $1 AND applied.definition_id = event.definition_id
        AND applied.trigger_key = event.trigger_key
)
ORDER BY ordinal
ON CONFLICT ON CONSTRAINT instance_events_pkey DO NOTHING;

-- name: add_work
-- Of a timer, which has not waited: its run has work that nobody has begun.
INSERT INTO instance_events (
    namespace, run_id, definition_id, key_hash, trigger_key, definition_version, trigger, queued_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp())
ON CONFLICT ON CONSTRAINT instance_events_pkey DO NOTHING;

-- name: first_event
SELECT event.run_id, event.trigger, clock_timestamp() - event.queued_at AS age, EXISTS (
        SELECT FROM trigger_keys AS known
        WHERE known.namespace = $1 AND known.definition_id = $2
            AND known.trigger_key = event.trigger_key
    ) AS known
FROM instance_events AS event
WHERE event.namespace = $1 AND event.definition_id = $2 AND event.key_hash = $3
ORDER BY event.position
LIMIT 1;

-- name: remove_event
DELETE FROM instance_events WHERE namespace = $1 AND run_id = $2 RETURNING run_id;

-- name: event_waits
SELECT EXISTS (SELECT FROM instance_events WHERE namespace = $1 AND run_id = $2);

-- name: crowded_keys
-- The keys of which more than $4 events wait.
SELECT wanted.definition_id, wanted.key_hash
FROM (
    SELECT DISTINCT definition_id, key_hash
    FROM unnest($2::text[], $3::text[]) AS told (definition_id, key_hash)
) AS wanted
WHERE EXISTS (
    SELECT FROM instance_events AS event
    WHERE event.namespace = $1 AND event.definition_id = wanted.definition_id
        AND event.key_hash = wanted.key_hash
    ORDER BY event.position
    OFFSET $4 LIMIT 1
)
ORDER BY wanted.definition_id, wanted.key_hash;

-- name: give_up_beyond
-- The oldest that were not applied, so that $4 remain. Under the lock of the instance.
DELETE FROM instance_events
WHERE namespace = $1 AND run_id IN (
    SELECT run_id
    FROM instance_events AS event
    WHERE event.namespace = $1 AND event.definition_id = $2 AND event.key_hash = $3
        AND NOT EXISTS (
            SELECT FROM trigger_keys AS applied
            WHERE applied.namespace = $1 AND applied.definition_id = $2
                AND applied.trigger_key = event.trigger_key
        )
    ORDER BY event.position DESC
    OFFSET $4
)
RETURNING topic, partition, record_offset, cause;

-- name: give_up_old
-- Under the lock of the instance, as above.
DELETE FROM instance_events
WHERE namespace = $1 AND run_id IN (
    SELECT run_id
    FROM instance_events AS event
    WHERE event.namespace = $1 AND event.definition_id = $2 AND event.key_hash = $3
        AND event.queued_at < clock_timestamp() - $4::interval
        AND NOT EXISTS (
            SELECT FROM trigger_keys AS applied
            WHERE applied.namespace = $1 AND applied.definition_id = $2
                AND applied.trigger_key = event.trigger_key
        )
    ORDER BY event.position
    LIMIT 1000
)
RETURNING topic, partition, record_offset, cause;

-- name: waiting_keys
-- Of which events wait, or a timer that is due. $2, $3: after this key; $4: definition, null for all.
SELECT
    definition_id, key_hash, sum(events)::bigint AS events, min(since) AS waiting_since,
    (array_agg(definition_version ORDER BY since))[1] AS definition_version
FROM (
    SELECT definition_id, key_hash, 1 AS events, queued_at AS since, definition_version
    FROM instance_events
    WHERE namespace = $1 AND (definition_id, key_hash) > ($2, $3)
        AND ($4::text IS NULL OR definition_id = $4)
    UNION ALL
    SELECT definition_id, key_hash, 0, next_timer_at, definition_version
    FROM instances
    WHERE namespace = $1 AND (definition_id, key_hash) > ($2, $3)
        AND ($4::text IS NULL OR definition_id = $4)
        AND next_timer_at <= clock_timestamp()
) AS waiting
GROUP BY definition_id, key_hash
HAVING min(since) <= clock_timestamp() - $5::interval
ORDER BY definition_id, key_hash
LIMIT $6;

-- name: backlog
SELECT
    count(*) AS events,
    COALESCE(extract(epoch FROM clock_timestamp() - min(queued_at)), 0)::float8 AS oldest_age
FROM instance_events
WHERE namespace = $1;

-- name: adopt_run
-- Taken from the instance, whose name holds the key until then; whoever holds it stays.
UPDATE trigger_keys
SET workflow_run_id = CASE
    WHEN starts_with(workflow_run_id, definition_id || ':instance:') THEN $4
    ELSE workflow_run_id END
WHERE namespace = $1 AND definition_id = $2 AND trigger_key = $3
RETURNING workflow_run_id;
