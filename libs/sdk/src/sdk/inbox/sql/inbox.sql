-- `{schema}` stands for the schema of the inbox: the search path belongs to the consumer.

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
WHERE namespace = $1 AND consumer_group = $2 AND source = $3 AND event_id = $4;

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
        SELECT ctid
        FROM {schema}.inbox_events
        WHERE namespace = $1 AND consumer_group = $2 AND seen_at < clock_timestamp() - $3::interval
        ORDER BY seen_at
        LIMIT $4
        FOR UPDATE SKIP LOCKED
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
