-- Resources: immutable versions, the head and the history of each, and what handing schedules on
-- came to.

SET lock_timeout = '5s';

-- Locked first by every change of a namespace, so that revisions become visible in their order and
-- no reader that resumes after one can have passed over another. The row's values are a projection.
CREATE TABLE revisions (
    namespace text NOT NULL,
    revision bigint NOT NULL,
    changed_at timestamptz,
    CONSTRAINT revisions_pkey PRIMARY KEY (namespace),
    CONSTRAINT revisions_revision_check CHECK (revision >= 0),
    CONSTRAINT revisions_changed_at_check CHECK ((revision = 0) = (changed_at IS NULL))
);

-- Every version, never changed. A projection of the resources' streams, as are the three below.
-- Ids are compared byte by byte: that is the order in which they are listed.
CREATE TABLE resource_versions (
    namespace text NOT NULL,
    kind text NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    revision bigint NOT NULL,
    owner text NOT NULL,
    content bytea NOT NULL,
    content_sha256 text NOT NULL,
    CONSTRAINT resource_versions_pkey PRIMARY KEY (namespace, kind, resource_id, version),
    CONSTRAINT resource_versions_revision_key UNIQUE (namespace, revision),
    CONSTRAINT resource_versions_version_check CHECK (version >= 1),
    CONSTRAINT resource_versions_sha256_check CHECK (content_sha256 ~ '^[0-9a-f]{64}$')
);

-- The head of each resource: `version` of its `versions` is the current one.
CREATE TABLE resources (
    namespace text NOT NULL,
    kind text NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    versions bigint NOT NULL,
    state text NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT resources_pkey PRIMARY KEY (namespace, kind, resource_id),
    CONSTRAINT resources_revision_key UNIQUE (namespace, revision),
    CONSTRAINT resources_version_check CHECK (version <= versions),
    CONSTRAINT resources_state_check CHECK (
        state IN ('active', 'retired') OR (state = 'disabled' AND kind = 'ActivityDefinition')
    ),
    CONSTRAINT resources_version_fkey FOREIGN KEY (namespace, kind, resource_id, version)
        REFERENCES resource_versions (namespace, kind, resource_id, version)
);

-- Everything that ever happened, with what was so afterwards. Times rise with revisions.
CREATE TABLE resource_changes (
    namespace text NOT NULL,
    revision bigint NOT NULL,
    kind text NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    change text NOT NULL,
    version bigint NOT NULL,
    versions bigint NOT NULL,
    state text NOT NULL,
    changed_at timestamptz NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT resource_changes_pkey PRIMARY KEY (namespace, revision),
    CONSTRAINT resource_changes_change_check CHECK (
        change IN ('applied', 'activated', 'enabled', 'disabled', 'retired')
    ),
    CONSTRAINT resource_changes_reason_check CHECK (char_length(reason) BETWEEN 1 AND 500)
);

CREATE INDEX resource_changes_resource_idx
    ON resource_changes (namespace, kind, resource_id, revision);
CREATE INDEX resource_changes_time_idx ON resource_changes (namespace, changed_at, revision);

-- Every schema that an event type ever had: one that was applied never changes, whatever its event
-- type holds or does not hold by now.
CREATE TABLE event_schemas (
    namespace text NOT NULL,
    event_type text NOT NULL,
    schema_version integer NOT NULL,
    schema bytea NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT event_schemas_pkey PRIMARY KEY (namespace, event_type, schema_version),
    CONSTRAINT event_schemas_version_check CHECK (schema_version >= 1)
);

-- Requests that were carried out, so that the same one again gets the same answer.
CREATE TABLE requests (
    namespace text NOT NULL,
    request_id text NOT NULL,
    request_sha256 text NOT NULL,
    answer jsonb NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT requests_pkey PRIMARY KEY (namespace, request_id)
);

CREATE INDEX requests_recorded_at_idx ON requests (namespace, recorded_at);

-- What the last attempt to hand a definition's schedules on came to; error is null for success.
CREATE TABLE materialisations (
    namespace text NOT NULL,
    definition_id text COLLATE "C" NOT NULL,
    revision bigint NOT NULL,
    attempted_at timestamptz NOT NULL,
    error text,
    CONSTRAINT materialisations_pkey PRIMARY KEY (namespace, definition_id),
    CONSTRAINT materialisations_revision_check CHECK (revision >= 1)
);
