-- What handing schedules on came to.

-- name: record_materialisation
-- Written again only when something changed, and not by a former leader that comes late.
INSERT INTO materialisations (namespace, definition_id, revision, attempted_at, error)
VALUES ($1, $2, $3, clock_timestamp(), $4)
ON CONFLICT ON CONSTRAINT materialisations_pkey DO UPDATE
SET revision = excluded.revision, attempted_at = excluded.attempted_at, error = excluded.error
WHERE materialisations.revision <= excluded.revision
    AND (materialisations.revision, materialisations.error)
        IS DISTINCT FROM (excluded.revision, excluded.error);

-- name: materialisations
SELECT definition_id, revision, attempted_at, error
FROM materialisations
WHERE namespace = $1
ORDER BY definition_id;

-- name: materialisations_of
SELECT definition_id, revision, attempted_at, error
FROM materialisations
WHERE namespace = $1 AND definition_id = ANY($2::text[]);
