-- `{schema}` stands for the schema of the inbox: the search path belongs to the consumer.
-- A stream whose versions are kept for all topics together has the topic ''.

-- name: note_event
-- Waits for another transaction that notes the same event, and then finds it noted.
INSERT INTO {schema}.inbox_events
    (namespace, consumer_group, source, event_id, sha256, topic, stream, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT ON CONSTRAINT inbox_events_pkey DO NOTHING
RETURNING true;

-- name: noted_sha256
SELECT sha256
FROM {schema}.inbox_events
WHERE
    namespace = $1 AND consumer_group = $2 AND source = $3 AND event_id = $4 AND republish_id = '';

-- name: note_copy
-- An event that waits is handled when its turn comes; a copy of it has nothing to repeat.
INSERT INTO {schema}.inbox_events
    (namespace, consumer_group, source, event_id, sha256, topic, republish_id)
SELECT $1, $2, $3, $4, $5, $6, $7
WHERE NOT EXISTS (
    SELECT
    FROM {schema}.inbox_waiting
    WHERE
        namespace = $1
        AND consumer_group = $2
        AND source = $3
        AND stream = $8
        AND event_id = $4
)
ON CONFLICT ON CONSTRAINT inbox_events_pkey DO NOTHING
RETURNING true;

-- name: advance_stream
-- Gives no row when the stream is at this version or further.
INSERT INTO {schema}.inbox_streams AS known
    (namespace, consumer_group, topic, source, stream, version)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT ON CONSTRAINT inbox_streams_pkey DO UPDATE
SET version = excluded.version
WHERE known.version < excluded.version
RETURNING true;

-- name: forgotten_version
SELECT forgotten_version
FROM {schema}.inbox_streams
WHERE namespace = $1 AND consumer_group = $2 AND topic = $3 AND source = $4 AND stream = $5;

-- name: lock_stream
-- All that touches the stream after this waits for the end of the transaction. 0: not begun.
INSERT INTO {schema}.inbox_streams AS known
    (namespace, consumer_group, topic, source, stream, version)
VALUES ($1, $2, '', $3, $4, 0)
ON CONFLICT ON CONSTRAINT inbox_streams_pkey DO UPDATE
SET version = known.version
RETURNING known.version, known.forgotten_version;

-- name: move_stream
UPDATE {schema}.inbox_streams
SET version = $5
WHERE namespace = $1 AND consumer_group = $2 AND topic = '' AND source = $3 AND stream = $4;

-- name: put_aside
INSERT INTO {schema}.inbox_waiting
    (
        namespace, consumer_group, source, stream, version, event_id, topic, kafka_partition,
        kafka_offset, republish_id, traceparent, body
    )
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT ON CONSTRAINT inbox_waiting_pkey DO NOTHING
RETURNING true;

-- name: take_waiting
DELETE FROM {schema}.inbox_waiting
WHERE
    namespace = $1
    AND consumer_group = $2
    AND source = $3
    AND stream = $4
    AND version = $5
    AND topic = ANY ($6::text [])
RETURNING topic, kafka_partition, kafka_offset, republish_id, traceparent, body;

-- name: next_waits
SELECT true
FROM {schema}.inbox_streams AS known
JOIN {schema}.inbox_waiting AS waiting
    ON
        waiting.namespace = known.namespace
        AND waiting.consumer_group = known.consumer_group
        AND waiting.source = known.source
        AND waiting.stream = known.stream
        AND waiting.version = known.version + 1
WHERE
    known.namespace = $1
    AND known.consumer_group = $2
    AND known.topic = ''
    AND known.source = $3
    AND known.stream = $4;

-- name: ready
SELECT waiting.source, waiting.stream
FROM {schema}.inbox_waiting AS waiting
JOIN {schema}.inbox_streams AS known
    ON
        known.namespace = waiting.namespace
        AND known.consumer_group = waiting.consumer_group
        AND known.topic = ''
        AND known.source = waiting.source
        AND known.stream = waiting.stream
        AND known.version = waiting.version - 1
WHERE waiting.namespace = $1 AND waiting.consumer_group = $2 AND waiting.topic = ANY ($3::text [])
LIMIT 100;

-- name: gaps
SELECT
    waiting.source,
    waiting.stream,
    known.version AS after,
    min(waiting.version) AS before,
    count(*) AS waiting,
    min(waiting.waits_since) AS since
FROM {schema}.inbox_waiting AS waiting
JOIN {schema}.inbox_streams AS known
    ON
        known.namespace = waiting.namespace
        AND known.consumer_group = waiting.consumer_group
        AND known.topic = ''
        AND known.source = waiting.source
        AND known.stream = waiting.stream
WHERE waiting.namespace = $1 AND waiting.consumer_group = $2
GROUP BY waiting.source, waiting.stream, known.version
HAVING min(waiting.version) > known.version + 1
ORDER BY since, waiting.source, waiting.stream
LIMIT $3;

-- name: first_waiting
SELECT min(version)
FROM {schema}.inbox_waiting
WHERE namespace = $1 AND consumer_group = $2 AND source = $3 AND stream = $4;

-- name: refuse
INSERT INTO {schema}.inbox_refusals
    (
        namespace, consumer_group, topic, kafka_partition, kafka_offset, sha256, source, event_id,
        reason, detail, body
    )
VALUES ($1, $2, $3, $4, $5, sha256($10), $6, $7, $8, $9, $10)
ON CONFLICT ON CONSTRAINT inbox_refusals_record_key DO NOTHING;

-- name: forget
-- One statement, so that no id is forgotten without its version being remembered as seen.
WITH forgotten AS (
    DELETE FROM {schema}.inbox_events
    WHERE ctid = ANY (ARRAY(
        SELECT event.ctid
        FROM {schema}.inbox_events AS event
        WHERE
            event.namespace = $1
            AND event.consumer_group = $2
            AND event.seen_at < clock_timestamp() - $3::interval
            AND NOT EXISTS (
                SELECT
                FROM {schema}.inbox_waiting AS waiting
                WHERE
                    waiting.namespace = event.namespace
                    AND waiting.consumer_group = event.consumer_group
                    AND waiting.source = event.source
                    AND waiting.stream = event.stream
                    AND waiting.version = event.version
                    AND waiting.event_id = event.event_id
            )
        ORDER BY event.seen_at
        LIMIT $4
        FOR UPDATE OF event SKIP LOCKED
    ))
    RETURNING topic, source, stream, version
),

remembered AS (
    UPDATE {schema}.inbox_streams AS known
    SET forgotten_version = greatest(known.forgotten_version, latest.version)
    FROM (
        SELECT topic, source, stream, max(version) AS version
        FROM forgotten
        WHERE stream IS NOT NULL
        GROUP BY topic, source, stream
    ) AS latest
    WHERE
        known.namespace = $1
        AND known.consumer_group = $2
        AND known.topic = latest.topic
        AND known.source = latest.source
        AND known.stream = latest.stream
)

SELECT count(*) FROM forgotten;

-- name: refusals
SELECT topic, kafka_partition, kafka_offset, reason, detail, body, source, event_id
FROM {schema}.inbox_refusals
WHERE namespace = $1 AND consumer_group = $2
ORDER BY number DESC
LIMIT $3;
