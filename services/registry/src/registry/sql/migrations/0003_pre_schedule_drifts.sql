-- Who materialises schedules, and what was found to differ from what had been handed on.
SET lock_timeout = '5s';

-- One row for each namespace. Another holder, or the same one after a gap, begins a new term.
CREATE TABLE reconciler_leases (
    namespace text NOT NULL,
    holder text NOT NULL,
    term bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    -- When the last comparison with everything that Temporal lists ended, of whichever term.
    compared_at timestamptz,
    CONSTRAINT reconciler_leases_pkey PRIMARY KEY (namespace),
    CONSTRAINT reconciler_leases_term_check CHECK (term >= 1)
);

-- Written before it is repaired, so that no crash can hide that it was found.
CREATE TABLE schedule_drifts (
    namespace text NOT NULL,
    drift_id bigint GENERATED ALWAYS AS IDENTITY,
    definition_id text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    -- A list of {path, wanted, found}.
    differences jsonb NOT NULL,
    revision bigint NOT NULL,
    found_at timestamptz NOT NULL,
    repaired_at timestamptz,
    CONSTRAINT schedule_drifts_pkey PRIMARY KEY (namespace, drift_id),
    CONSTRAINT schedule_drifts_kind_check CHECK (kind IN ('missing', 'different', 'unexpected')),
    CONSTRAINT schedule_drifts_repaired_at_check CHECK (repaired_at >= found_at)
);

-- What is not repaired yet is found again, and is one drift all the same.
CREATE UNIQUE INDEX schedule_drifts_open_key
    ON schedule_drifts (namespace, definition_id) WHERE repaired_at IS NULL;
CREATE INDEX schedule_drifts_definition_idx
    ON schedule_drifts (namespace, definition_id, drift_id);
CREATE INDEX schedule_drifts_found_at_idx ON schedule_drifts (namespace, found_at);
