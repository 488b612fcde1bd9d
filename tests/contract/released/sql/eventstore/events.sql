-- name: lock_head
-- The lock that makes appends to one stream take turns.
SELECT version, hash
FROM stream_heads
WHERE namespace = $1 AND stream = $2
FOR UPDATE;

-- name: append
-- Everything of an append in one statement; no rows when the stream is not at version $14.
WITH head AS (
    INSERT INTO stream_heads (namespace, stream, version, hash)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT ON CONSTRAINT stream_heads_pkey
        DO UPDATE SET version = excluded.version, hash = excluded.hash
        WHERE stream_heads.version = $14
    RETURNING namespace, stream
), new AS (
    SELECT nextval('events_position_seq') AS position, clock_timestamp() AS recorded_at, ordered.*
    FROM (
        SELECT head.namespace, head.stream, fact.*
        FROM head CROSS JOIN unnest(
            $5::bigint[], $6::uuid[], $7::text[], $8::text[], $9::text[], $10::text[],
            $11::bytea[], $12::bytea[], $13::bytea[], $15::bytea[]
        ) AS fact (
            version, event_id, type, topic, key, headers, body, previous_hash, hash, signature
        )
        ORDER BY fact.version
    ) AS ordered
), written AS (
    INSERT INTO events (
        position, recorded_at, namespace, stream, version, event_id, type, topic, key, headers,
        body, previous_hash, hash, signature, signing_key_id
    )
    SELECT
        position, recorded_at, namespace, stream, version, event_id, type, topic, key,
        headers::json, body, previous_hash, hash, signature, $16::text
    FROM new
), pending AS (
    INSERT INTO outbox_pending (position, recorded_at, namespace, stream, version, size)
    SELECT position, recorded_at, namespace, stream, version, octet_length(body) FROM new
)
SELECT version, position, recorded_at FROM new ORDER BY version;

-- name: version_of
SELECT version FROM stream_heads WHERE namespace = $1 AND stream = $2;

-- name: read_stream
SELECT position, recorded_at, stream, version, body, previous_hash, hash
FROM events
WHERE namespace = $1 AND stream = $2 AND version > $3
ORDER BY version
LIMIT $4;

-- name: read_all
-- In the order of positions, which within a stream is the order of versions.
SELECT position, recorded_at, stream, version, body, previous_hash, hash
FROM events
WHERE namespace = $1 AND position > $2
ORDER BY position
LIMIT $3;

-- name: hold_appends
-- Appends wait, and none is under way, until the transaction ends.
LOCK TABLE stream_heads IN EXCLUSIVE MODE;

-- name: ensure_partitions
SELECT name FROM events_ensure_partitions($1) AS name;

-- name: drop_month
SELECT dropped, month FROM events_drop_sealed_month(clock_timestamp() - $1::interval);

-- name: clear_default
SELECT deleted, month FROM events_clear_sealed_default(clock_timestamp() - $1::interval, $2);
