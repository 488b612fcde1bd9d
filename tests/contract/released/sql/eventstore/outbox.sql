-- name: begin_request
-- No row when the id is known.
INSERT INTO outbox_requests (namespace, request_id, kind, arguments, actor, reason)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT ON CONSTRAINT outbox_requests_pkey DO NOTHING
RETURNING request_id;

-- name: lock_request
-- Who asks with the same id takes turns.
SELECT kind = $3 AND arguments = $4::jsonb AS same
FROM outbox_requests
WHERE namespace = $1 AND request_id = $2
FOR UPDATE;

-- name: complete_request
UPDATE outbox_requests SET completed_at = clock_timestamp()
WHERE namespace = $1 AND request_id = $2;

-- name: bounds
-- The positions that may hold what was recorded in [$1, $2), generously; nothing that comes from
-- now on.
SELECT
    limits.recorded_to,
    events_position_before($1) AS covered,
    events_position_before(limits.recorded_to + interval '2 hours') AS last
FROM (SELECT LEAST($2::timestamptz, clock_timestamp()) AS recorded_to) AS limits;

-- name: begin_republication
INSERT INTO outbox_republications (namespace, request_id, recorded_to, covered, last)
VALUES ($1, $2, $3, $4, $5);

-- name: republication
SELECT recorded_to, covered, last, republished, pending, parked, discarded
FROM outbox_republications
WHERE namespace = $1 AND request_id = $2;

-- name: advance_republication
UPDATE outbox_republications
SET covered = $3, republished = $4, pending = $5, parked = $6, discarded = $7
WHERE namespace = $1 AND request_id = $2;

-- name: copies_waiting
-- How many copies are not published yet, counted up to $1.
SELECT count(*)
FROM (SELECT FROM outbox_pending WHERE republish_id IS NOT NULL LIMIT $1) AS counted;

-- name: hold_retention
SELECT events_hold_retention();

-- name: events_in_range
-- The next $4 positions after $2, up to $3.
SELECT position, recorded_at, namespace, stream, version, octet_length(body) AS size
FROM events
WHERE namespace = $1 AND position > $2 AND position <= LEAST($2 + $4, $3)
    AND recorded_at >= $5 AND recorded_at < $6
    AND (cardinality($7::text[]) = 0 OR type = ANY($7));

-- name: events_of_stream
-- The next $4 events of the stream $9, in the order of its versions: that is of positions too.
SELECT position, recorded_at, namespace, stream, version, octet_length(body) AS size
FROM events
WHERE namespace = $1 AND stream = $9 AND position > $2 AND position <= $3
    AND recorded_at >= $5 AND recorded_at < $6
    AND (cardinality($7::text[]) = 0 OR type = ANY($7))
ORDER BY version
LIMIT $4;

-- name: put_back
-- Follows one of the two above. Puts what was published before back under the mark $8, nothing when
-- that is null, and counts. An event that was given up was never published, unless what was given
-- up was a copy of it.
states AS (
    SELECT
        event.*,
        CASE
            WHEN EXISTS (SELECT FROM outbox_pending WHERE position = event.position) THEN 'pending'
            WHEN EXISTS (SELECT FROM outbox_parked WHERE position = event.position) THEN 'parked'
            WHEN EXISTS (
                SELECT FROM outbox_discarded
                WHERE position = event.position AND republish_id IS NULL
            ) THEN 'discarded'
            ELSE 'published'
        END AS state
    FROM event
), put AS (
    INSERT INTO outbox_pending (position, recorded_at, namespace, stream, version, republish_id, size)
    SELECT position, recorded_at, namespace, stream, version, $8, size
    FROM states
    WHERE state = 'published' AND $8::text IS NOT NULL
    ORDER BY position
    ON CONFLICT ON CONSTRAINT outbox_pending_pkey DO NOTHING
    RETURNING position
)
SELECT
    count(*) AS found,
    max(position) AS last,
    count(*) FILTER (WHERE state = 'published') AS published,
    count(*) FILTER (WHERE state = 'pending') AS pending,
    count(*) FILTER (WHERE state = 'parked') AS parked,
    count(*) FILTER (WHERE state = 'discarded') AS discarded,
    (SELECT count(*) FROM put) AS put
FROM states;

-- name: read_again
SELECT outbox_read_again();

-- name: parked
SELECT
    parked.position, parked.recorded_at, parked.stream, parked.version, parked.republish_id,
    parked.parked_at, parked.reason, parked.waits,
    event.event_id, event.type, event.topic, event.key, octet_length(event.body) AS size
FROM outbox_parked AS parked
JOIN events AS event
    ON event.position = parked.position AND event.recorded_at = parked.recorded_at
WHERE parked.namespace = $1 AND parked.position > $2
ORDER BY parked.position
LIMIT $3;

-- name: retry
WITH parked AS (
    DELETE FROM outbox_parked WHERE namespace = $1 AND position = $2
    RETURNING position, recorded_at, namespace, stream, version, republish_id
)
INSERT INTO outbox_pending (position, recorded_at, namespace, stream, version, republish_id)
SELECT position, recorded_at, namespace, stream, version, republish_id FROM parked
RETURNING position;

-- name: discard
WITH parked AS (
    DELETE FROM outbox_parked WHERE namespace = $1 AND position = $2
    RETURNING
        position, recorded_at, namespace, stream, version, republish_id, parked_at, reason
)
INSERT INTO outbox_discarded (
    position, recorded_at, namespace, stream, version, republish_id, parked_at, parked_reason,
    request_id
)
SELECT
    position, recorded_at, namespace, stream, version, republish_id, parked_at, reason, $3
FROM parked
RETURNING position;

-- name: state
-- Of the first $2 pending rows of the outbox, those of the namespace.
SELECT
    first.rows AS looked_at, first.pending, first.copies, first.oldest_queued_at,
    (SELECT count(*) FROM outbox_parked WHERE namespace = $1) AS parked,
    (SELECT count(DISTINCT stream) FROM outbox_parked WHERE namespace = $1 AND waits) AS waiting,
    (SELECT count(*) FROM outbox_discarded WHERE namespace = $1) AS discarded
FROM (
    SELECT
        count(*) AS rows,
        count(*) FILTER (WHERE namespace = $1) AS pending,
        count(*) FILTER (WHERE namespace = $1 AND republish_id IS NOT NULL) AS copies,
        min(queued_at) FILTER (WHERE namespace = $1) AS oldest_queued_at
    FROM (
        SELECT namespace, queued_at, republish_id FROM outbox_pending ORDER BY position LIMIT $2
    ) AS sample
) AS first;
