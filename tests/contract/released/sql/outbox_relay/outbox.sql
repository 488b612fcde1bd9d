-- The session of a relay: its locks live and die with it. A relay that hangs while its connection
-- stays up (stopped, swapped out) loses the session, and with it the lead, after $2. Its one dear
-- statement walks two indexes in order, whatever the statistics of a table that is now empty and now
-- full make of it.
-- name: prepare
SELECT
    set_config('search_path', $1, false),
    set_config('idle_session_timeout', $2, false),
    set_config('statement_timeout', $2, false),
    set_config('jit', 'off', false),
    set_config('plan_cache_mode', 'force_generic_plan', false),
    set_config('enable_seqscan', 'off', false),
    set_config('enable_hashjoin', 'off', false),
    set_config('enable_mergejoin', 'off', false),
    set_config('max_parallel_workers_per_gather', '0', false)

-- Every relay of the outbox holds lock 16 with the others, which counts them.
-- name: join
SELECT pg_advisory_lock_shared(hashtext('backbone.outbox.' || current_schema()), 16)

-- name: locks
SELECT objid::int AS shard, pid = pg_backend_pid() AS mine
FROM pg_locks
WHERE
    locktype = 'advisory'
    AND granted
    AND objsubid = 2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = hashtext('backbone.outbox.' || current_schema())::oid

-- name: take
SELECT shard
FROM unnest($1::int[]) AS wanted (shard)
WHERE pg_try_advisory_lock(hashtext('backbone.outbox.' || current_schema()), shard)

-- name: give
SELECT pg_advisory_unlock(hashtext('backbone.outbox.' || current_schema()), shard)
FROM unnest($1::int[]) AS given (shard)

-- Rows after the tail ($1), or after the lowest floor of a transaction that has ended since ($2, $3;
-- see `domain/horizon.py`), of the shards $4: at most $5, and no more than it takes to reach $6
-- bytes. The first row, which is always there, says in which snapshot all this was seen, and how many
-- rows there would be without the last of these bounds.
-- name: read
WITH begin AS (
    SELECT LEAST($1::bigint, (
        SELECT min(running.floor)
        FROM unnest($2::text[], $3::bigint[]) AS running (xid, floor)
        WHERE pg_visible_in_snapshot(running.xid::xid8, pg_current_snapshot())
    )) AS position
), pending AS MATERIALIZED (
    SELECT
        position, recorded_at, republish_id,
        sum(size) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - size AS before
    FROM (
        SELECT position, recorded_at, republish_id, size
        FROM outbox_pending
        WHERE position > (SELECT begin.position FROM begin) AND shard = ANY($4::smallint[])
        ORDER BY position
        LIMIT $5
    ) AS next
)
SELECT
    (SELECT count(*) FROM pending), '', pg_current_snapshot()::text, '', '', '', ''::bytea,
    NULL::text, NULL::bytea
UNION ALL
SELECT * FROM (
    SELECT
        p.position, e.namespace, e.stream, e.topic, e.key, e.headers::text, e.body, p.republish_id,
        e.signature
    FROM pending AS p
    JOIN events AS e ON e.position = p.position AND e.recorded_at = p.recorded_at
    WHERE p.before < $6
    ORDER BY p.position
) AS found

-- name: delete
DELETE FROM outbox_pending WHERE position = ANY($1::bigint[])

-- Moves a row that the broker refuses out of the way, in one statement.
-- name: park
WITH refused AS (
    DELETE FROM outbox_pending
    WHERE position = $1
    RETURNING position, recorded_at, namespace, stream, version, republish_id, queued_at
)
INSERT INTO outbox_parked (
    position, recorded_at, namespace, stream, version, republish_id, queued_at, reason, waits
)
SELECT
    position, recorded_at, namespace, stream, version, republish_id, queued_at, $2, $3
FROM refused
-- Another copy of it may be parked already.
ON CONFLICT ON CONSTRAINT outbox_parked_pkey DO NOTHING

-- name: waiting_streams
SELECT DISTINCT namespace, stream FROM outbox_parked WHERE waits

-- How far behind the outbox is; counting ends at $1.
-- name: lag
SELECT
    (SELECT count(*) FROM (SELECT FROM outbox_pending LIMIT $1) AS counted) AS rows,
    COALESCE((
        SELECT EXTRACT(EPOCH FROM clock_timestamp() - queued_at)
        FROM outbox_pending
        ORDER BY position
        LIMIT 1
    ), 0)::float8 AS seconds,
    (SELECT count(*) FROM outbox_parked) AS parked
