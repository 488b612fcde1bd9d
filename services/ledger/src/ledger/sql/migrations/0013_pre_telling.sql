-- Failures that the sweep closes are told of, and clocks of human tasks that do nothing are found.
SET lock_timeout = '5s';

-- Looser than what it replaces: what is there need not be looked at again.
ALTER TABLE pending_operations
    DROP CONSTRAINT pending_operations_kind_check,
    ADD CONSTRAINT pending_operations_kind_check CHECK (
        kind IN ('start_run', 'retry_task', 'cancel', 'tell_failure')
    ) NOT VALID;

CREATE INDEX tasks_timed_idx ON tasks (namespace, position)
    WHERE status = 'open' AND type = 'human'
        AND (due_at IS NOT NULL OR escalates_at IS NOT NULL OR expires_at IS NOT NULL);
