-- The sensitive values of people, and the keys they are encrypted under. The search path is the
-- service's schema.
SET lock_timeout = '5s';

-- What turns who somebody is into a reference. Without it nobody finds a person out by trying.
CREATE TABLE subject_indexes (
    namespace text NOT NULL,
    data_key text NOT NULL,
    wrapped bytea NOT NULL,
    CONSTRAINT subject_indexes_pkey PRIMARY KEY (namespace)
);

-- A key of a person. Destroyed, the row stays and says so; what comes later has a key of its own.
CREATE TABLE subject_keys (
    namespace text NOT NULL,
    key_id bigint GENERATED ALWAYS AS IDENTITY,
    subject_ref text NOT NULL,
    data_key text,
    wrapped bytea,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    erased_at timestamptz,
    erased_by text,
    erase_reason text,
    CONSTRAINT subject_keys_pkey PRIMARY KEY (namespace, key_id),
    CONSTRAINT subject_keys_ref_check CHECK (subject_ref ~ '^[a-z2-7]{26}$'),
    -- What is erased has no key, and what has none is erased, by somebody, for a reason.
    CONSTRAINT subject_keys_erased_check CHECK (
        (wrapped IS NULL) = (erased_at IS NOT NULL)
        AND (data_key IS NULL) = (wrapped IS NULL)
        AND (erased_by IS NULL) = (erased_at IS NULL)
        AND (erase_reason IS NULL) = (erased_at IS NULL)
    )
);

CREATE UNIQUE INDEX subject_keys_live_idx ON subject_keys (namespace, subject_ref)
    WHERE erased_at IS NULL;
CREATE INDEX subject_keys_subject_idx ON subject_keys (namespace, subject_ref, key_id);
CREATE INDEX subject_keys_data_key_idx ON subject_keys (namespace, data_key)
    WHERE erased_at IS NULL;

-- Never changed: the first value of a blob id stays, and stays unreadable once its key is gone.
CREATE TABLE sensitive_values (
    namespace text NOT NULL,
    blob_id uuid NOT NULL,
    key_id bigint NOT NULL,
    hash text NOT NULL,
    sealed bytea NOT NULL,
    kept_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT sensitive_values_pkey PRIMARY KEY (namespace, blob_id),
    CONSTRAINT sensitive_values_key_fkey FOREIGN KEY (namespace, key_id)
        REFERENCES subject_keys (namespace, key_id),
    CONSTRAINT sensitive_values_hash_check CHECK (hash ~ '^[a-z2-7]{26}$')
);

CREATE INDEX sensitive_values_key_idx ON sensitive_values (namespace, key_id);

-- Written before values are shown, and never changed: the audit of who has seen what.
CREATE TABLE sensitive_reveals (
    namespace text NOT NULL,
    reveal_id bigint GENERATED ALWAYS AS IDENTITY,
    blob_ids uuid[] NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    request_id text NOT NULL,
    revealed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT sensitive_reveals_pkey PRIMARY KEY (namespace, reveal_id),
    CONSTRAINT sensitive_reveals_reason_check CHECK (actor <> '' AND reason <> '')
);

DO $isolated$
BEGIN
    PERFORM isolate_namespaces('subject_indexes', 'SELECT, INSERT, UPDATE');
    PERFORM isolate_namespaces('subject_keys', 'SELECT, INSERT, UPDATE');
    PERFORM isolate_namespaces('sensitive_values', 'SELECT, INSERT');
    PERFORM isolate_namespaces('sensitive_reveals', 'SELECT, INSERT');
END
$isolated$;
