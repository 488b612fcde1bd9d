-- Resources: the projection's writes, and the reads. What a revision did never changes, so a read
-- finds revisions first and then what they did.

-- name: lock_revision
-- Makes the changes of a namespace take turns. The time is read after the lock was granted.
INSERT INTO revisions (namespace, revision)
VALUES ($1, 0)
ON CONFLICT ON CONSTRAINT revisions_pkey DO UPDATE SET revision = revisions.revision
RETURNING revision, changed_at, clock_timestamp() AS now;

-- name: hold_revision
-- Lets changes wait without making any.
SELECT revision FROM revisions WHERE namespace = $1 FOR UPDATE;

-- name: project_change
-- One change: a version if there is content ($12), the head, the history and the revision.
WITH stored AS (
    INSERT INTO resource_versions (
        namespace, kind, resource_id, version, revision, owner, content, content_sha256
    )
    SELECT $1, $2, $3, $6, $4, $11, $12::bytea, $13
    WHERE $12::bytea IS NOT NULL
), head AS (
    INSERT INTO resources (namespace, kind, resource_id, version, versions, state, revision)
    VALUES ($1, $2, $3, $6, $6, $7, $4)
    ON CONFLICT ON CONSTRAINT resources_pkey DO UPDATE
    SET version = excluded.version,
        versions = greatest(resources.versions, excluded.versions),
        state = excluded.state,
        revision = excluded.revision
    RETURNING versions
), advanced AS (
    UPDATE revisions SET revision = $4, changed_at = $8 WHERE namespace = $1
)
INSERT INTO resource_changes (
    namespace, revision, kind, resource_id, change, version, versions, state, changed_at, actor,
    reason, held
)
SELECT $1, $4, $2, $3, $5, $6, head.versions, $7, $8, $9, $10, $14
FROM head;

-- name: project_schema
-- The first schema of a version is the one that counts; a later one is the same.
INSERT INTO event_schemas (namespace, event_type, schema_version, schema, revision)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT ON CONSTRAINT event_schemas_pkey DO NOTHING;

-- name: empty_schemas
DELETE FROM event_schemas WHERE namespace = $1;

-- name: empty_changes
DELETE FROM resource_changes WHERE namespace = $1;

-- name: empty_resources
DELETE FROM resources WHERE namespace = $1;

-- name: empty_versions
DELETE FROM resource_versions WHERE namespace = $1;

-- name: empty_revision
UPDATE revisions SET revision = 0, changed_at = NULL WHERE namespace = $1;

-- name: find_request
SELECT request_id, request_sha256, answer::text AS answer
FROM requests
WHERE namespace = $1 AND request_id = $2;

-- name: insert_request
INSERT INTO requests (namespace, request_id, request_sha256, answer, recorded_at)
VALUES ($1, $2, $3, $4::text::jsonb, $5);

-- name: forget_requests
-- A few at a time: whoever asks pays no more than that for the others.
DELETE FROM requests
WHERE namespace = $1 AND request_id IN (
    SELECT request_id
    FROM requests
    WHERE namespace = $1 AND recorded_at < $2
    ORDER BY recorded_at
    LIMIT 20
);

-- name: states
-- What each of the revisions changed, as it was right after it.
SELECT
    l.namespace, l.kind, l.resource_id, l.revision, l.change, l.version, l.versions, l.state,
    l.changed_at, l.actor, l.reason, l.held, v.content, v.content_sha256,
    a.revision AS applied_revision, a.state AS applied_state, a.changed_at AS applied_at,
    a.actor AS applied_by, a.reason AS applied_reason
FROM resource_changes AS l
JOIN resource_versions AS v USING (namespace, kind, resource_id, version)
JOIN resource_changes AS a ON a.namespace = v.namespace AND a.revision = v.revision
WHERE l.namespace = $1 AND l.revision = ANY ($2::bigint[]);

-- name: head_revision
SELECT revision FROM resources WHERE namespace = $1 AND kind = $2 AND resource_id = $3;

-- name: version_revision
SELECT revision
FROM resource_versions
WHERE namespace = $1 AND kind = $2 AND resource_id = $3 AND version = $4;

-- name: revision_at
-- Times rise with revisions: the state at a time is the state at this one.
SELECT revision
FROM resource_changes
WHERE namespace = $1 AND changed_at <= $2
ORDER BY changed_at DESC, revision DESC
LIMIT 1;

-- name: head_revision_at
SELECT revision
FROM resource_changes
WHERE namespace = $1 AND kind = $2 AND resource_id = $3 AND revision <= $4
ORDER BY revision DESC
LIMIT 1;

-- name: page_revisions
-- Each resource as of its last change up to revision $8. The sizes are summed first: content that
-- does not fit is never read.
WITH page AS (
    SELECT r.resource_id, c.revision, v.content
    FROM resources AS r
    CROSS JOIN LATERAL (
        SELECT l.revision, l.version, l.state
        FROM resource_changes AS l
        WHERE
            l.namespace = r.namespace AND l.kind = r.kind AND l.resource_id = r.resource_id
            AND l.revision <= $8
        ORDER BY l.revision DESC
        LIMIT 1
    ) AS c
    JOIN resource_versions AS v
        ON v.namespace = r.namespace AND v.kind = r.kind AND v.resource_id = r.resource_id
        AND v.version = c.version
    WHERE
        r.namespace = $1 AND r.kind = $2 AND r.resource_id > $3
        AND ($6 = '' OR v.owner = $6) AND ($7 OR c.state <> 'retired')
    ORDER BY r.resource_id
    LIMIT $4
), sized AS (
    SELECT
        resource_id, revision,
        row_number() OVER ahead AS place,
        sum(octet_length(content)) OVER ahead AS bytes
    FROM page
    WINDOW ahead AS (ORDER BY resource_id)
)
SELECT revision FROM sized WHERE place = 1 OR bytes <= $5 ORDER BY resource_id;

-- name: changed_revisions
WITH page AS (
    SELECT r.revision, v.content
    FROM resources AS r
    JOIN resource_versions AS v USING (namespace, kind, resource_id, version)
    WHERE r.namespace = $1 AND r.revision > $2
    ORDER BY r.revision
    LIMIT $3
), sized AS (
    SELECT
        revision,
        row_number() OVER ahead AS place,
        sum(octet_length(content)) OVER ahead AS bytes
    FROM page
    WINDOW ahead AS (ORDER BY revision)
)
SELECT revision FROM sized WHERE place = 1 OR bytes <= $4 ORDER BY revision;

-- name: history
SELECT
    revision, kind, resource_id, change, version, state, changed_at, actor, reason, held
FROM resource_changes
WHERE namespace = $1 AND revision < $2
ORDER BY revision DESC
LIMIT $3;

-- name: history_of
SELECT
    revision, kind, resource_id, change, version, state, changed_at, actor, reason, held
FROM resource_changes
WHERE namespace = $1 AND kind = $4 AND resource_id = $5 AND revision < $2
ORDER BY revision DESC
LIMIT $3;

-- name: released
-- The newest change of each definition that says what becomes of held events, whatever came after it.
SELECT DISTINCT ON (resource_id)
    revision, kind, resource_id, change, version, state, changed_at, actor, reason, held
FROM resource_changes
WHERE namespace = $1 AND kind = $2 AND resource_id = ANY ($3::text[]) AND held IS NOT NULL
ORDER BY resource_id, revision DESC;

-- name: schemas
SELECT event_type, schema_version, schema
FROM event_schemas
WHERE namespace = $1 AND event_type = ANY ($2::text[]);

-- name: revision
SELECT revision FROM revisions WHERE namespace = $1;
