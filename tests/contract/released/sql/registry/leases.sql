-- Which replica materialises the schedules of a namespace: a lease, timed by the database's clock.

-- name: take
-- A lease that has not expired is nobody else's. Nothing comes back when it could not be taken.
INSERT INTO reconciler_leases AS leases (namespace, holder, term, expires_at)
VALUES ($1, $2, 1, clock_timestamp() + $3::interval)
ON CONFLICT ON CONSTRAINT reconciler_leases_pkey DO UPDATE
SET holder = excluded.holder, term = leases.term + 1, expires_at = excluded.expires_at
WHERE leases.expires_at <= clock_timestamp()
RETURNING term;

-- name: renew
-- Also one that has expired, as long as nobody has taken it.
UPDATE reconciler_leases SET expires_at = clock_timestamp() + $3::interval
WHERE namespace = $1 AND term = $2
RETURNING term;

-- name: give_back
UPDATE reconciler_leases SET expires_at = clock_timestamp()
WHERE namespace = $1 AND term = $2;

-- name: compared
UPDATE reconciler_leases SET compared_at = clock_timestamp()
WHERE namespace = $1 AND term = $2;

-- name: lease
SELECT holder, term, expires_at > clock_timestamp() AS leads, compared_at
FROM reconciler_leases
WHERE namespace = $1;
