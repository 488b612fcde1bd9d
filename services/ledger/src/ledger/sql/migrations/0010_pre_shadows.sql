-- Versions that decide beside the one that counts. The search path is the service's schema.
SET lock_timeout = '5s';

-- Bounded: a shadow ends by itself, and a definition keeps the decisions of its last one only.
CREATE TABLE shadows (
    namespace text NOT NULL,
    shadow_id text NOT NULL,
    definition_id text NOT NULL,
    definition_version bigint NOT NULL,
    content bytea NOT NULL,
    max_runs integer NOT NULL,
    decided integer NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_by text NOT NULL,
    reason text NOT NULL,
    expires_at timestamptz NOT NULL,
    stopped_at timestamptz,
    stopped_by text,
    stop_reason text,
    CONSTRAINT shadows_pkey PRIMARY KEY (namespace, shadow_id),
    -- One for each definition, whether or not it still decides.
    CONSTRAINT shadows_definition_key UNIQUE (namespace, definition_id),
    CONSTRAINT shadows_version_check CHECK (definition_version >= 1),
    CONSTRAINT shadows_runs_check CHECK (max_runs >= 1 AND decided >= 0),
    CONSTRAINT shadows_reason_check CHECK (started_by <> '' AND reason <> ''),
    CONSTRAINT shadows_stopped_check CHECK (
        (stopped_at IS NULL) = (stopped_by IS NULL) AND (stopped_at IS NULL) = (stop_reason IS NULL)
    )
) WITH (fillfactor = 50);

CREATE TABLE shadow_decisions (
    namespace text NOT NULL,
    shadow_id text NOT NULL,
    run_id text NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    outcome text NOT NULL,
    reason text NOT NULL,
    decision bytea,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT shadow_decisions_pkey PRIMARY KEY (namespace, shadow_id, run_id),
    CONSTRAINT shadow_decisions_shadow_fkey FOREIGN KEY (namespace, shadow_id)
        REFERENCES shadows (namespace, shadow_id) ON DELETE CASCADE,
    CONSTRAINT shadow_decisions_outcome_check
        CHECK (outcome IN ('decided', 'failed', 'not_started', 'not_comparable')),
    CONSTRAINT shadow_decisions_decision_check
        CHECK ((outcome = 'decided') = (decision IS NOT NULL))
);

CREATE INDEX shadow_decisions_newest_idx
    ON shadow_decisions (namespace, shadow_id, position DESC);
