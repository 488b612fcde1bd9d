-- One leader per outbox: the lock lives and dies with the session that reads and deletes.
-- name: try_lead
SELECT pg_try_advisory_lock(hashtext('backbone.outbox'), hashtext($1))

-- The set of pending rows, not a cursor: a row that commits late is simply still in it.
-- name: pending
SELECT e.position, e.namespace, e.stream, e.topic, e.key, e.headers, e.body
FROM outbox_pending AS p
JOIN events AS e ON e.position = p.position AND e.recorded_at = p.recorded_at
WHERE NOT (p.namespace || ' ' || p.stream = ANY($2::text[]))
ORDER BY p.position
LIMIT $1

-- name: delete
DELETE FROM outbox_pending WHERE position = ANY($1::bigint[])
