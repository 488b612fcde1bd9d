-- Human tasks: claims, versions, timers, more ways to end, and what happened to each.
SET lock_timeout = '5s';

ALTER TABLE tasks
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD COLUMN claimed_by text,
    ADD COLUMN claimed_at timestamptz,
    ADD COLUMN remind_at timestamptz[] NOT NULL DEFAULT '{}',
    ADD COLUMN escalates_at timestamptz,
    ADD COLUMN escalates_to_users text[] NOT NULL DEFAULT '{}',
    ADD COLUMN escalates_to_groups text[] NOT NULL DEFAULT '{}',
    ADD COLUMN expires_at timestamptz,
    -- The latest of these times that was carried out.
    ADD COLUMN advanced_until timestamptz,
    DROP CONSTRAINT tasks_status_check,
    ADD CONSTRAINT tasks_status_check
        CHECK (status IN ('open', 'completed', 'failed', 'cancelled', 'expired')) NOT VALID,
    ADD CONSTRAINT tasks_version_check CHECK (version >= 1) NOT VALID,
    ADD CONSTRAINT tasks_claim_check CHECK (
        (claimed_by IS NULL) = (claimed_at IS NULL) AND (claimed_by IS NULL OR type = 'human')
    ) NOT VALID;

-- The inbox of a person: what is assigned to them or to a group of theirs, or claimed by them.
CREATE INDEX tasks_assigned_users_idx ON tasks USING gin (assigned_users)
    WHERE status = 'open' AND type = 'human';
CREATE INDEX tasks_assigned_groups_idx ON tasks USING gin (assigned_groups)
    WHERE status = 'open' AND type = 'human';
CREATE INDEX tasks_claimed_idx ON tasks (namespace, claimed_by)
    WHERE status = 'open' AND type = 'human' AND claimed_by IS NOT NULL;

-- A read model of the events of human tasks. `position` is the event's.
CREATE TABLE task_changes (
    namespace text NOT NULL,
    task_id uuid NOT NULL,
    position bigint NOT NULL,
    event_type text NOT NULL,
    event_id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    actor text,
    reason text,
    comment text,
    assigned_users text[] NOT NULL,
    assigned_groups text[] NOT NULL,
    CONSTRAINT task_changes_pkey PRIMARY KEY (namespace, task_id, position)
);
