-- Definitions: immutable versions, the head of each, and what materialising them came to.

SET lock_timeout = '5s';

-- Locked first by every change of a namespace, so that revisions become visible in their order and
-- no reader that resumes after one can have passed over another.
CREATE TABLE revisions (
    namespace text PRIMARY KEY,
    revision bigint NOT NULL,
    CONSTRAINT revisions_revision_check CHECK (revision >= 0)
);

-- A projection of the definitions' streams, as is `definitions`: every version, never changed.
CREATE TABLE definition_versions (
    namespace text NOT NULL,
    definition_id text NOT NULL,
    version bigint NOT NULL,
    content bytea NOT NULL,
    content_sha256 text NOT NULL,
    applied_at timestamptz NOT NULL,
    applied_by text NOT NULL,
    reason text NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT definition_versions_pkey PRIMARY KEY (namespace, definition_id, version),
    CONSTRAINT definition_versions_revision_key UNIQUE (namespace, revision),
    CONSTRAINT definition_versions_version_check CHECK (version >= 1),
    CONSTRAINT definition_versions_sha256_check CHECK (content_sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT definition_versions_reason_check CHECK (char_length(reason) BETWEEN 1 AND 500)
);

-- The active version of each definition. The etag changes with every change of the definition.
CREATE TABLE definitions (
    namespace text NOT NULL,
    definition_id text NOT NULL,
    version bigint NOT NULL,
    etag text NOT NULL,
    revision bigint NOT NULL,
    enabled boolean NOT NULL,
    CONSTRAINT definitions_pkey PRIMARY KEY (namespace, definition_id),
    CONSTRAINT definitions_revision_key UNIQUE (namespace, revision),
    CONSTRAINT definitions_version_fkey FOREIGN KEY (namespace, definition_id, version)
        REFERENCES definition_versions (namespace, definition_id, version)
);

-- Requests that were carried out, so that the same one again gets the same answer.
CREATE TABLE requests (
    namespace text NOT NULL,
    request_id text NOT NULL,
    request_sha256 text NOT NULL,
    definition_id text NOT NULL,
    version bigint NOT NULL,
    changed boolean NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT requests_pkey PRIMARY KEY (namespace, request_id),
    CONSTRAINT requests_version_check CHECK (version >= 1)
);

-- What the last attempt to hand a definition's schedules on came to; error is null for success.
CREATE TABLE materialisations (
    namespace text NOT NULL,
    definition_id text NOT NULL,
    version bigint NOT NULL,
    attempted_at timestamptz NOT NULL,
    error text,
    CONSTRAINT materialisations_pkey PRIMARY KEY (namespace, definition_id),
    CONSTRAINT materialisations_version_check CHECK (version >= 1)
);
