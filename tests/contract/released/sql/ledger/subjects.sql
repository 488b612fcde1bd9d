-- name: index_key
SELECT data_key, wrapped FROM subject_indexes WHERE namespace = $1;

-- name: add_index_key
-- The first one stays: all references are made with it.
INSERT INTO subject_indexes (namespace, data_key, wrapped) VALUES ($1, $2, $3)
ON CONFLICT ON CONSTRAINT subject_indexes_pkey DO NOTHING;

-- name: live_keys
-- Held until the transaction ends, so that none is destroyed beneath what is kept under it. In one
-- order, as all who lock several do.
SELECT key_id, subject_ref, data_key, wrapped
FROM subject_keys
WHERE namespace = $1 AND subject_ref = ANY($2::text[]) AND erased_at IS NULL
ORDER BY subject_ref
FOR SHARE;

-- name: add_keys
INSERT INTO subject_keys (namespace, subject_ref, data_key, wrapped)
SELECT $1, given.subject_ref, given.data_key, given.wrapped
FROM unnest($2::text[], $3::text[], $4::bytea[]) AS given (subject_ref, data_key, wrapped)
ORDER BY given.subject_ref
ON CONFLICT (namespace, subject_ref) WHERE erased_at IS NULL DO NOTHING;

-- name: add_values
INSERT INTO sensitive_values (namespace, blob_id, key_id, hash, sealed)
SELECT $1, given.blob_id, given.key_id, given.hash, given.sealed
FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::bytea[])
    AS given (blob_id, key_id, hash, sealed)
ORDER BY given.blob_id
ON CONFLICT ON CONSTRAINT sensitive_values_pkey DO NOTHING;

-- name: values
-- With the key of each, which is missing once it was destroyed.
SELECT kept.blob_id, kept.hash, kept.sealed, owner.subject_ref, owner.data_key, owner.wrapped
FROM sensitive_values AS kept
JOIN subject_keys AS owner ON owner.namespace = kept.namespace AND owner.key_id = kept.key_id
WHERE kept.namespace = $1 AND kept.blob_id = ANY($2::uuid[]);

-- name: keys_of
SELECT
    owner.key_id, owner.data_key, owner.created_at, owner.erased_at, owner.erased_by,
    owner.erase_reason,
    (
        SELECT count(*) FROM sensitive_values AS kept
        WHERE kept.namespace = owner.namespace AND kept.key_id = owner.key_id
    ) AS values
FROM subject_keys AS owner
WHERE owner.namespace = $1 AND owner.subject_ref = $2
ORDER BY owner.key_id;

-- name: erase
-- Waits for whoever is keeping something under the key.
UPDATE subject_keys
SET wrapped = NULL, data_key = NULL, erased_at = $3, erased_by = $4, erase_reason = $5
WHERE namespace = $1 AND subject_ref = $2 AND erased_at IS NULL
RETURNING key_id;

-- name: now
SELECT clock_timestamp();

-- name: wrapped_otherwise
SELECT key_id, subject_ref, data_key, wrapped
FROM subject_keys
WHERE namespace = $1 AND erased_at IS NULL AND data_key <> $2
ORDER BY subject_ref
LIMIT $3
FOR UPDATE;

-- name: rewrap
UPDATE subject_keys AS owner
SET data_key = $2, wrapped = given.wrapped
FROM unnest($3::bigint[], $4::bytea[]) AS given (key_id, wrapped)
WHERE owner.namespace = $1 AND owner.key_id = given.key_id AND owner.erased_at IS NULL;

-- name: rewrap_index
UPDATE subject_indexes SET data_key = $2, wrapped = $3 WHERE namespace = $1;

-- name: add_reveal
INSERT INTO sensitive_reveals (namespace, blob_ids, actor, reason, request_id)
VALUES ($1, $2::uuid[], $3, $4, $5);

-- name: reveals
SELECT reveal_id, blob_ids, actor, reason, request_id, revealed_at
FROM sensitive_reveals
WHERE namespace = $1 AND ($2::bigint IS NULL OR reveal_id < $2)
ORDER BY reveal_id DESC
LIMIT $3;
