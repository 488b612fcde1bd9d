-- Kill switches, and the definitions that they stop. The search path is the service's schema.
SET lock_timeout = '5s';

CREATE TABLE kill_switches (
    namespace text NOT NULL,
    switch_id text NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    point text NOT NULL,
    labels jsonb NOT NULL,
    thrown_at timestamptz NOT NULL,
    thrown_by text NOT NULL,
    reason text NOT NULL,
    -- Of the registry, when it was told last what the labels select.
    selected_revision bigint,
    reset_at timestamptz,
    reset_by text,
    reset_reason text,
    CONSTRAINT kill_switches_pkey PRIMARY KEY (namespace, switch_id),
    CONSTRAINT kill_switches_position_key UNIQUE (position),
    CONSTRAINT kill_switches_point_check CHECK (point IN ('ingress', 'run', 'effect')),
    CONSTRAINT kill_switches_labels_check CHECK (
        jsonb_typeof(labels) = 'object' AND (point <> 'ingress' OR labels = '{}')
    ),
    CONSTRAINT kill_switches_reason_check CHECK (thrown_by <> '' AND reason <> ''),
    CONSTRAINT kill_switches_reset_check CHECK (
        (reset_at IS NULL) = (reset_by IS NULL) AND (reset_at IS NULL) = (reset_reason IS NULL)
    )
);

-- The same is not stopped twice at a point.
CREATE UNIQUE INDEX kill_switches_thrown_idx ON kill_switches (namespace, point, labels)
    WHERE reset_at IS NULL;

-- What is stopped now: `*` for all definitions of a namespace. Looked at wherever something is handed
-- out, so it is its own small table.
CREATE TABLE halted_definitions (
    namespace text NOT NULL,
    point text NOT NULL,
    definition_id text NOT NULL,
    switch_id text NOT NULL,
    CONSTRAINT halted_definitions_pkey PRIMARY KEY (namespace, point, definition_id, switch_id),
    CONSTRAINT halted_definitions_switch_fkey FOREIGN KEY (namespace, switch_id)
        REFERENCES kill_switches (namespace, switch_id) ON DELETE CASCADE
);

CREATE INDEX halted_definitions_switch_idx ON halted_definitions (namespace, switch_id);

ALTER TABLE pending_starts DROP CONSTRAINT pending_starts_reason_check;
ALTER TABLE pending_starts ADD CONSTRAINT pending_starts_reason_check
    CHECK (reason IN ('held', 'batch', 'limited', 'replay', 'halted')) NOT VALID;
ALTER TABLE pending_starts VALIDATE CONSTRAINT pending_starts_reason_check;

CREATE INDEX pending_starts_halted_idx ON pending_starts (namespace, definition_id)
    WHERE reason = 'halted';

DO $isolated$
BEGIN
    PERFORM isolate_namespaces('kill_switches', 'SELECT, INSERT, UPDATE');
    PERFORM isolate_namespaces('halted_definitions', 'SELECT, INSERT, DELETE');
END
$isolated$;
