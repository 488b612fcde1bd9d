-- name: hold_chain
-- Whoever adds to the chain takes turns; the lock ends with the transaction.
SELECT pg_advisory_xact_lock(hashtext('audit_checkpoints'), hashtext(current_schema()));

-- name: try_hold_chain
-- The one that gets it leads until its transaction ends.
SELECT pg_try_advisory_xact_lock(hashtext('audit_checkpoints'), hashtext(current_schema()));

-- name: assigned
-- The last position that an append has taken, committed or not.
SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM events_position_seq;

-- name: writers
-- The transactions that have written to events and have not ended, or are about to write: the lock
-- comes before a position is taken, and goes after the commit is visible.
SELECT virtualtransaction
FROM pg_locks
WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND relation = 'events'::regclass;

-- name: newest
SELECT
    number, kind, first_position, last_position, month, events, digest, sealed_at,
    previous_hash, hash, signature, signing_key_id
FROM audit_checkpoints
ORDER BY number DESC
LIMIT 1;

-- name: sealed_to
SELECT events_sealed_to();

-- name: now
SELECT clock_timestamp();

-- name: insert
INSERT INTO audit_checkpoints (
    number, kind, first_position, last_position, month, events, leaves, digest, sealed_at,
    previous_hash, hash, signature, signing_key_id
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: events
-- Everything of the next $3 events after the position $1, up to $2.
SELECT
    position, recorded_at, namespace, stream, version, event_id, type, topic, key, headers, body,
    signature, signing_key_id, previous_hash, hash, blob_ref
FROM events
WHERE position > $1 AND position <= $2
ORDER BY position
LIMIT $3;

-- name: sealed_in_month
SELECT COALESCE(sum(events), 0)::bigint
FROM audit_checkpoints
WHERE kind = 'sealed' AND month = $1;

-- name: is_dropped
SELECT EXISTS (SELECT FROM audit_checkpoints WHERE kind = 'dropped' AND month = $1);

-- name: dropped
SELECT month FROM audit_checkpoints WHERE kind = 'dropped';

-- name: checkpoint
SELECT
    number, kind, first_position, last_position, month, events, digest, sealed_at,
    previous_hash, hash, signature, signing_key_id
FROM audit_checkpoints
WHERE number = $1;

-- name: next
-- The next checkpoint after the number $1.
SELECT
    number, kind, first_position, last_position, month, events, digest, sealed_at,
    previous_hash, hash, signature, signing_key_id
FROM audit_checkpoints
WHERE number > $1
ORDER BY number
LIMIT 1;

-- name: of_range
-- The checkpoints of one range, one for each month, which follow one another: $1 is the first.
SELECT
    number, kind, first_position, last_position, month, events, digest, sealed_at,
    previous_hash, hash, signature, signing_key_id, leaves
FROM audit_checkpoints
WHERE number >= $1 AND number < $1 + 1000
    AND kind = 'sealed' AND first_position = $2 AND last_position = $3
ORDER BY number;

-- name: sealed_by
-- Up to where the checkpoints up to the number $1 seal.
SELECT last_position
FROM audit_checkpoints
WHERE number <= $1 AND kind = 'sealed'
ORDER BY number DESC
LIMIT 1;

-- name: follows
-- Of each event whether the one before it in its stream has the hash it names; null when there is
-- none before it.
SELECT (
    SELECT bool_or(event.hash = wanted.previous_hash)
    FROM events AS event
    WHERE event.namespace = wanted.namespace AND event.stream = wanted.stream
        AND event.version = wanted.version - 1
) AS follows
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[])
    WITH ORDINALITY AS wanted (namespace, stream, version, previous_hash, at)
ORDER BY wanted.at;

-- name: heads_of
SELECT head.version, head.hash
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (namespace, stream, at)
LEFT JOIN stream_heads AS head
    ON head.namespace = wanted.namespace AND head.stream = wanted.stream
ORDER BY wanted.at;

-- name: heads
-- The next $3 streams after ($1, $2), each with the last event that is there.
SELECT
    head.namespace, head.stream, head.version, head.hash,
    last.version AS last_version, last.hash AS last_hash, last.recorded_at
FROM (
    SELECT namespace, stream, version, hash
    FROM stream_heads
    WHERE (namespace, stream) > ($1, $2)
    ORDER BY namespace, stream
    LIMIT $3
) AS head
LEFT JOIN LATERAL (
    SELECT event.version, event.hash, event.recorded_at
    FROM events AS event
    WHERE event.namespace = head.namespace AND event.stream = head.stream
    ORDER BY event.version DESC
    LIMIT 1
) AS last ON true
ORDER BY head.namespace, head.stream;
