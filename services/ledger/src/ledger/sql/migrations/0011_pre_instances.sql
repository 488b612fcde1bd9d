-- Stateful instances. The search path is the service's schema.
SET lock_timeout = '5s';

-- A read model of the events of the runs that instances decided: each generation as it stands.
-- `position` is that of its first event and gives lists their order.
CREATE TABLE instances (
    namespace text NOT NULL,
    definition_id text NOT NULL,
    key_hash text NOT NULL,
    generation bigint NOT NULL,
    position bigint NOT NULL,
    definition_version bigint NOT NULL,
    sequence bigint NOT NULL,
    state_sha256 text NOT NULL,
    status text NOT NULL,
    last_run_id text NOT NULL,
    started_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT instances_pkey PRIMARY KEY (namespace, definition_id, key_hash, generation),
    CONSTRAINT instances_position_key UNIQUE (position),
    CONSTRAINT instances_generation_check CHECK (generation >= 1 AND sequence >= 1),
    CONSTRAINT instances_status_check CHECK (status IN ('open', 'ended')),
    CONSTRAINT instances_ended_check CHECK ((ended_at IS NOT NULL) = (status = 'ended'))
) WITH (fillfactor = 80);

-- A key has one open generation at most.
CREATE UNIQUE INDEX instances_open_idx ON instances (namespace, definition_id, key_hash)
    WHERE status = 'open';
CREATE INDEX instances_newest_idx ON instances (namespace, position DESC);
CREATE INDEX instances_definition_idx ON instances (namespace, definition_id, position DESC);
