-- Definitions: the projection's writes, and the reads.

-- name: lock_revision
-- Makes the changes of a namespace take turns. The time is read after the lock was granted.
INSERT INTO revisions (namespace, revision)
VALUES ($1, 0)
ON CONFLICT ON CONSTRAINT revisions_pkey DO UPDATE SET revision = revisions.revision
RETURNING revision, clock_timestamp() AS now;

-- name: advance_revision
UPDATE revisions SET revision = $2 WHERE namespace = $1;

-- name: insert_version
INSERT INTO definition_versions (
    namespace, definition_id, version, content, content_sha256, applied_at, applied_by, reason,
    revision
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: activate_version
-- A new version leaves a definition enabled or disabled, as it was.
INSERT INTO definitions (namespace, definition_id, version, etag, revision, enabled)
VALUES ($1, $2, $3, $4, $5, true)
ON CONFLICT ON CONSTRAINT definitions_pkey DO UPDATE
SET version = excluded.version, etag = excluded.etag, revision = excluded.revision;

-- name: find_request
SELECT request_id, request_sha256, definition_id, version, changed
FROM requests
WHERE namespace = $1 AND request_id = $2;

-- name: insert_request
INSERT INTO requests (
    namespace, request_id, request_sha256, definition_id, version, changed, recorded_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: active
SELECT
    v.namespace, v.definition_id, v.version, v.content, v.content_sha256, v.applied_at,
    v.applied_by, v.reason, d.revision, d.enabled
FROM definitions AS d
JOIN definition_versions AS v USING (namespace, definition_id, version)
WHERE d.namespace = $1 AND d.definition_id = $2;

-- name: version
-- The revision is the definition's for the active version, for others the one they were applied at.
SELECT
    v.namespace, v.definition_id, v.version, v.content, v.content_sha256, v.applied_at,
    v.applied_by, v.reason, d.enabled,
    CASE WHEN d.version = v.version THEN d.revision ELSE v.revision END AS revision
FROM definition_versions AS v
JOIN definitions AS d USING (namespace, definition_id)
WHERE v.namespace = $1 AND v.definition_id = $2 AND v.version = $3;

-- name: page
-- The sizes are summed first: content that does not fit is never read.
WITH sized AS (
    SELECT
        d.definition_id AS id,
        row_number() OVER ahead AS place,
        sum(octet_length(v.content)) OVER ahead AS bytes
    FROM (
        SELECT namespace, definition_id, version
        FROM definitions
        WHERE namespace = $1 AND definition_id > $2
        ORDER BY definition_id
        LIMIT $3
    ) AS d
    JOIN definition_versions AS v USING (namespace, definition_id, version)
    WINDOW ahead AS (ORDER BY d.definition_id)
)
SELECT
    v.namespace, v.definition_id, v.version, v.content, v.content_sha256, v.applied_at,
    v.applied_by, v.reason, d.revision, d.enabled
FROM sized
JOIN definitions AS d ON d.namespace = $1 AND d.definition_id = sized.id
JOIN definition_versions AS v USING (namespace, definition_id, version)
WHERE sized.place = 1 OR sized.bytes <= $4
ORDER BY v.definition_id;

-- name: changed
WITH sized AS (
    SELECT
        d.definition_id AS id,
        row_number() OVER ahead AS place,
        sum(octet_length(v.content)) OVER ahead AS bytes
    FROM (
        SELECT namespace, definition_id, version, revision
        FROM definitions
        WHERE namespace = $1 AND revision > $2
        ORDER BY revision
        LIMIT $3
    ) AS d
    JOIN definition_versions AS v USING (namespace, definition_id, version)
    WINDOW ahead AS (ORDER BY d.revision)
)
SELECT
    v.namespace, v.definition_id, v.version, v.content, v.content_sha256, v.applied_at,
    v.applied_by, v.reason, d.revision, d.enabled
FROM sized
JOIN definitions AS d ON d.namespace = $1 AND d.definition_id = sized.id
JOIN definition_versions AS v USING (namespace, definition_id, version)
WHERE sized.place = 1 OR sized.bytes <= $4
ORDER BY d.revision;

-- name: revision
SELECT revision FROM revisions WHERE namespace = $1;

-- name: record_materialisation
-- Written again only when something changed, and not by a former leader that comes late.
INSERT INTO materialisations (namespace, definition_id, version, attempted_at, error)
VALUES ($1, $2, $3, clock_timestamp(), $4)
ON CONFLICT ON CONSTRAINT materialisations_pkey DO UPDATE
SET version = excluded.version, attempted_at = excluded.attempted_at, error = excluded.error
WHERE materialisations.version <= excluded.version
    AND (materialisations.version, materialisations.error)
        IS DISTINCT FROM (excluded.version, excluded.error);
