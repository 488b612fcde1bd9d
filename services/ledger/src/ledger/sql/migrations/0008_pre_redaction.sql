-- A document can be redacted: its body no longer is what its hash, and the events that hold it, say.
SET lock_timeout = '5s';

ALTER TABLE documents
    ADD COLUMN redacted_at timestamptz,
    ADD COLUMN redacted_by text,
    ADD COLUMN redaction_reason text,
    DROP CONSTRAINT documents_sha256_check,
    -- Not validated: every row fits the stricter one that went.
    ADD CONSTRAINT documents_sha256_check
        CHECK (redacted_at IS NOT NULL OR sha256 = encode(sha256(body), 'hex')) NOT VALID,
    ADD CONSTRAINT documents_redaction_check CHECK (
        (redacted_at IS NULL) = (redacted_by IS NULL)
        AND (redacted_at IS NULL) = (redaction_reason IS NULL)
    ) NOT VALID;
