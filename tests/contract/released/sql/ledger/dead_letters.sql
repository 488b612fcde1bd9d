-- name: add_resolutions
-- First writer wins: a dead letter is resolved once. In one order, so that two requests for the same
-- dead letters wait for one another instead of deadlocking.
INSERT INTO dead_letter_resolutions (
    namespace, topic, partition, record_offset, state, detail, actor, reason, request_id
)
SELECT $1, $2, given.partition, given.record_offset, given.state, given.detail, $3, $4, $5
FROM unnest($6::integer[], $7::bigint[], $8::text[], $9::text[])
    AS given (partition, record_offset, state, detail)
ORDER BY given.partition, given.record_offset
ON CONFLICT ON CONSTRAINT dead_letter_resolutions_pkey DO NOTHING;

-- name: resolutions_at
-- Those of some places, in the order of the places.
SELECT
    standing.topic, standing.partition, standing.record_offset, standing.state, standing.actor,
    standing.reason, standing.request_id, standing.detail, standing.resolved_at
FROM unnest($3::integer[], $4::bigint[]) WITH ORDINALITY
    AS asked (partition, record_offset, number)
JOIN dead_letter_resolutions AS standing
    ON standing.namespace = $1 AND standing.topic = $2
    AND standing.partition = asked.partition AND standing.record_offset = asked.record_offset
ORDER BY asked.number;

-- name: resolutions_between
SELECT
    topic, partition, record_offset, state, actor, reason, request_id, detail, resolved_at
FROM dead_letter_resolutions
WHERE namespace = $1 AND topic = $2 AND partition = $3
    AND record_offset >= $4 AND record_offset < $5
ORDER BY record_offset
LIMIT $6;

-- name: add_opening
-- The same request again is the same opening.
INSERT INTO dead_letter_openings (
    namespace, topic, partition, record_offset, actor, reason, request_id
)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT ON CONSTRAINT dead_letter_openings_request_key DO NOTHING;

-- name: openings
SELECT opening_id, topic, partition, record_offset, actor, reason, request_id, opened_at
FROM dead_letter_openings
WHERE namespace = $1 AND ($2::bigint IS NULL OR opening_id < $2)
ORDER BY opening_id DESC
LIMIT $3;
