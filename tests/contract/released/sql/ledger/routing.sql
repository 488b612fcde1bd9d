-- name: know_events
-- Whoever records a copy of one of these events waits here until the transaction ends. In the order
-- of the keys, so that nobody waits in a circle.
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now)
INSERT INTO routed_events AS known (namespace, event_key, digest, first_at, last_at)
SELECT $1, event.event_key, event.digest, clock.now, clock.now
FROM unnest($2::text[], $3::bytea[]) AS event (event_key, digest) CROSS JOIN clock
ORDER BY event.event_key
ON CONFLICT ON CONSTRAINT routed_events_pkey DO UPDATE
    SET recordings = known.recordings + 1, last_at = greatest(known.last_at, excluded.last_at)
RETURNING event_key, digest, first_at, recordings;

-- name: known_decisions
-- Of events that were recorded before, at $4 the earliest: what stands at these places, and which
-- places have the effects. Other copies are left out: there may be any number. The months ahead are
-- left out too: whoever recorded a copy while this transaction waited did so just now. OFFSET 0
-- keeps it to a look into an index for each, where a new table without statistics would be read
-- as a whole.
SELECT found.*
FROM unnest($5::text[], $6::integer[], $7::bigint[]) AS place (topic, partition, record_offset)
CROSS JOIN LATERAL (
    SELECT
        source, event_id, topic, partition, record_offset, cause, definition_id, outcome, run_id,
        settled_at IS NOT NULL AS settled
    FROM routing_decisions AS decision
    WHERE decision.namespace = $1 AND decision.topic = place.topic
        AND decision.partition = place.partition AND decision.record_offset = place.record_offset
        AND decision.decided_at >= $4 AND decision.decided_at < now() + interval '1 day'
    OFFSET 0
) AS found
UNION ALL
SELECT found.*
FROM unnest($2::text[], $3::text[]) AS event (source, event_id)
CROSS JOIN LATERAL (
    SELECT
        source, event_id, topic, partition, record_offset, cause, definition_id, outcome, run_id,
        settled_at IS NOT NULL AS settled
    FROM routing_decisions AS decision
    WHERE decision.namespace = $1 AND decision.event_id = event.event_id
        AND decision.source = event.source
        AND decision.outcome IN ('started', 'signalled', 'held', 'batched', 'limited')
        AND decision.decided_at >= $4 AND decision.decided_at < now() + interval '1 day'
    OFFSET 0
) AS found;

-- name: add_decisions
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now)
INSERT INTO routing_decisions (
    decided_at, namespace, topic, partition, record_offset, cause, source, event_id, type,
    definition_id, definition_version, outcome, trigger_names, run_id, clause, seen, detail,
    registry_revision
)
SELECT
    clock.now, $1, topic, partition, record_offset, cause, source, event_id, type,
    definition_id, definition_version, outcome,
    ARRAY(SELECT json_array_elements_text(trigger_names::json)),
    nullif(run_id, ''), nullif(clause, ''), nullif(seen, ''), nullif(detail, ''), registry_revision
FROM unnest(
    $2::text[], $3::integer[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
    $16::text[], $17::bigint[]
) WITH ORDINALITY AS decision (
    topic, partition, record_offset, cause, source, event_id, type, definition_id,
    definition_version, outcome, trigger_names, run_id, clause, seen, detail, registry_revision,
    ordinal
) CROSS JOIN clock
ORDER BY ordinal;

-- name: settle
-- What became of what waited. One that is held again goes on waiting: it has no end yet ($12). Copies
-- that came while it waited are told its run. A run that was there, and that nobody told of, was
-- started by somebody who died of it: it is told as started. Rows are found by looks into an index,
-- as in `known_decisions`, and changed by their whole key.
WITH told AS (
    SELECT *
    FROM unnest(
        $2::text[], $3::text[], $4::integer[], $5::bigint[], $6::text[], $7::text[], $8::bigint[],
        $9::text[], $10::text[], $11::text[], $14::text[], $12::boolean[]
    ) AS told (
        definition_id, topic, partition, record_offset, cause, outcome, version, run_id, clause,
        seen, detail, settled
    )
), waits AS MATERIALIZED (
    SELECT told.*, place.decision_id, place.decided_at, EXISTS (
            SELECT FROM routing_decisions AS other
            WHERE other.namespace = $1 AND other.event_id = place.event_id
                AND other.source = place.source AND other.definition_id = told.definition_id
                AND other.run_id = told.run_id AND other.outcome = 'started'
        ) AS was_told
    FROM told
    CROSS JOIN LATERAL (
        SELECT decision_id, decided_at, outcome, source, event_id
        FROM routing_decisions AS decision
        WHERE decision.namespace = $1 AND decision.topic = told.topic
            AND decision.partition = told.partition
            AND decision.record_offset = told.record_offset
            AND decision.definition_id = told.definition_id AND decision.cause = told.cause
        OFFSET 0
    ) AS place
    WHERE place.outcome IN ('held', 'batched', 'limited')
        -- It waited for its turn in an instance, and was given up.
        OR (place.outcome = 'signalled' AND told.outcome = 'discarded')
), settled AS (
    UPDATE routing_decisions AS decision
    SET outcome = CASE
            WHEN waits.outcome = 'duplicate' AND waits.run_id <> '' AND NOT waits.was_told
                THEN 'started'
            ELSE waits.outcome
        END,
        definition_version = COALESCE(nullif(waits.version, 0), decision.definition_version),
        run_id = COALESCE(nullif(waits.run_id, ''), decision.run_id),
        clause = COALESCE(nullif(waits.clause, ''), decision.clause),
        seen = COALESCE(nullif(waits.seen, ''), decision.seen),
        detail = COALESCE(nullif(waits.detail, ''), decision.detail),
        settled_at = CASE WHEN waits.settled THEN $13::timestamptz END
    FROM waits
    WHERE decision.namespace = $1 AND decision.topic = waits.topic
        AND decision.partition = waits.partition
        AND decision.record_offset = waits.record_offset
        AND decision.definition_id = waits.definition_id AND decision.cause = waits.cause
        AND decision.decision_id = waits.decision_id AND decision.decided_at = waits.decided_at
    RETURNING
        decision.source, decision.event_id, decision.definition_id, decision.cause,
        decision.run_id
), copies AS MATERIALIZED (
    SELECT copy.*, settled.run_id AS found
    FROM settled
    CROSS JOIN LATERAL (
        SELECT
            topic, partition, record_offset, definition_id, cause, decision_id, decided_at, outcome,
            run_id
        FROM routing_decisions AS decision
        WHERE decision.namespace = $1 AND decision.event_id = settled.event_id
            AND decision.source = settled.source
        OFFSET 0
    ) AS copy
    WHERE copy.definition_id = settled.definition_id AND copy.cause = settled.cause
        AND copy.outcome = 'duplicate' AND copy.run_id IS NULL AND settled.run_id IS NOT NULL
)
UPDATE routing_decisions AS decision
SET run_id = copies.found
FROM copies
WHERE decision.namespace = $1 AND decision.topic = copies.topic
    AND decision.partition = copies.partition AND decision.record_offset = copies.record_offset
    AND decision.definition_id = copies.definition_id AND decision.cause = copies.cause
    AND decision.decision_id = copies.decision_id AND decision.decided_at = copies.decided_at;

-- name: add_ranges
-- The same range again is the same row, but for two who record it at once, whose two rows say the
-- same.
INSERT INTO unrouted_ranges (
    recorded_at, namespace, topic, partition, first_offset, last_offset, records, registry_revision
)
SELECT
    clock_timestamp(), $1, told.topic, told.partition, told.first_offset, told.last_offset,
    told.records, told.registry_revision
FROM unnest($2::text[], $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
    AS told (topic, partition, first_offset, last_offset, records, registry_revision)
WHERE NOT unrouted_range_is_known(
    $1, told.topic, told.partition, told.first_offset, told.last_offset
);

-- name: range_at
-- The newest that holds the offset.
SELECT topic, partition, first_offset, last_offset, records, registry_revision, recorded_at
FROM unrouted_ranges_at($1, $2, $3, $4)
ORDER BY recorded_at DESC
LIMIT 1;

-- name: decisions_of_event
SELECT
    decision_id, decided_at, topic, partition, record_offset, cause, source, event_id, type,
    definition_id, definition_version, outcome, trigger_names, run_id, clause, seen, detail,
    registry_revision, settled_at
FROM routing_decisions
WHERE namespace = $1 AND event_id = $9
    AND ($10::text IS NULL OR source = $10)
    AND ($2::text IS NULL OR definition_id = $2) AND ($3::text IS NULL OR outcome = $3)
    AND decided_at >= $4 AND decided_at < $5
    AND decided_at <= $6 AND (decided_at, decision_id) < ($6, $7::bigint)
ORDER BY decided_at DESC, decision_id DESC
LIMIT $8;

-- name: decisions_of_definition
SELECT
    decision_id, decided_at, topic, partition, record_offset, cause, source, event_id, type,
    definition_id, definition_version, outcome, trigger_names, run_id, clause, seen, detail,
    registry_revision, settled_at
FROM routing_decisions
WHERE namespace = $1 AND definition_id = $2 AND ($3::text IS NULL OR outcome = $3)
    AND decided_at >= $4 AND decided_at < $5
    AND decided_at <= $6 AND (decided_at, decision_id) < ($6, $7::bigint)
ORDER BY decided_at DESC, decision_id DESC
LIMIT $8;

-- name: decisions_of_rare_outcome
SELECT
    decision_id, decided_at, topic, partition, record_offset, cause, source, event_id, type,
    definition_id, definition_version, outcome, trigger_names, run_id, clause, seen, detail,
    registry_revision, settled_at
FROM routing_decisions
WHERE namespace = $1 AND outcome = $3 AND outcome NOT IN ('started', 'duplicate', 'filtered')
    AND ($2::text IS NULL OR definition_id = $2)
    AND decided_at >= $4 AND decided_at < $5
    AND decided_at <= $6 AND (decided_at, decision_id) < ($6, $7::bigint)
ORDER BY decided_at DESC, decision_id DESC
LIMIT $8;

-- name: decisions
-- The time as it is is for the months that need not be looked at.
SELECT
    decision_id, decided_at, topic, partition, record_offset, cause, source, event_id, type,
    definition_id, definition_version, outcome, trigger_names, run_id, clause, seen, detail,
    registry_revision, settled_at
FROM routing_decisions
WHERE namespace = $1
    AND ($2::text IS NULL OR definition_id = $2) AND ($3::text IS NULL OR outcome = $3)
    AND decided_at >= $4 AND decided_at < $5 AND decided_at <= $6
    AND decided_at AT TIME ZONE 'UTC' >= $4 AT TIME ZONE 'UTC'
    AND decided_at AT TIME ZONE 'UTC' < $5 AT TIME ZONE 'UTC'
    AND (decided_at AT TIME ZONE 'UTC', decision_id) < ($6 AT TIME ZONE 'UTC', $7::bigint)
ORDER BY decided_at AT TIME ZONE 'UTC' DESC, decision_id DESC
LIMIT $8;

-- name: forget_events
-- Of whole months before the decisions that are kept. A day more, since a decision may come a moment
-- after its event was told, in the next month.
DELETE FROM routed_events
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM routed_events
    WHERE last_at
        < date_trunc('month', least(clock_timestamp() - $1::interval, clock_timestamp()), 'UTC')
            - interval '1 day'
    ORDER BY last_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
));
