-- name: run_of_task
SELECT run_id FROM tasks WHERE namespace = $1 AND task_id = $2;

-- name: lock_task
-- Read under its run's lock, so that nobody changes it meanwhile.
SELECT
    task_id, run_id, definition_id, rule, key, type, status, version, title, assigned_users,
    assigned_groups, claimed_by, closed_by, form, due_at, remind_at, escalates_at,
    escalates_to_users, escalates_to_groups, expires_at, advanced_until
FROM tasks
WHERE namespace = $1 AND task_id = $2;

-- name: get_task
SELECT
    namespace, task_id, position, run_id, definition_id, rule, key, type, status, version, handler,
    title, assigned_users, assigned_groups, claimed_by, claimed_at, created_at, due_at, remind_at,
    escalates_at, expires_at, closed_at, closed_by, input, form, output, failure_type,
    failure_message, generation
FROM tasks
WHERE namespace = $1 AND task_id = $2;

-- name: list_tasks
-- $2: before this position, $3: run, $4: status, $5: type, $7: users and $8: groups that they are
-- for or $9: who claimed them, $10: definition, $11: due before; null for all.
SELECT
    namespace, task_id, position, run_id, definition_id, rule, key, type, status, version, handler,
    title, assigned_users, assigned_groups, claimed_by, claimed_at, created_at, due_at, remind_at,
    escalates_at, expires_at, closed_at, closed_by, input, form, output, failure_type,
    failure_message, generation
FROM tasks
WHERE namespace = $1
    AND position < (SELECT COALESCE($2::bigint, 9223372036854775807))
    AND ($3::text IS NULL OR run_id = $3)
    AND ($4::text IS NULL OR status = $4)
    AND ($5::text IS NULL OR type = $5)
    AND ($10::text IS NULL OR definition_id = $10)
    AND ($11::timestamptz IS NULL OR due_at < $11)
    AND (
        $7::text[] IS NULL
        OR assigned_users && $7 OR assigned_groups && $8::text[] OR claimed_by = $9
    )
ORDER BY position DESC
LIMIT $6;

-- name: list_inbox
-- Open human tasks, found by whose they are: see list_tasks. The indexes are for these alone.
SELECT
    namespace, task_id, position, run_id, definition_id, rule, key, type, status, version, handler,
    title, assigned_users, assigned_groups, claimed_by, claimed_at, created_at, due_at, remind_at,
    escalates_at, expires_at, closed_at, closed_by, input, form, output, failure_type,
    failure_message, generation
FROM tasks
WHERE namespace = $1
    AND position < (SELECT COALESCE($2::bigint, 9223372036854775807))
    AND ($3::text IS NULL OR run_id = $3)
    AND status = 'open'
    AND type = 'human'
    AND (assigned_users && $5::text[] OR assigned_groups && $6::text[] OR claimed_by = $7)
    AND ($8::text IS NULL OR definition_id = $8)
    AND ($9::timestamptz IS NULL OR due_at < $9)
ORDER BY position DESC
LIMIT $4;

-- name: list_changes
-- $3: after this position.
SELECT
    position, event_type, event_id, occurred_at, actor, reason, comment, assigned_users,
    assigned_groups
FROM task_changes
WHERE namespace = $1 AND task_id = $2 AND position > $3
ORDER BY position
LIMIT $4;

-- name: insert_change
INSERT INTO task_changes (
    namespace, task_id, position, event_type, event_id, occurred_at, actor, reason, comment,
    assigned_users, assigned_groups
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: change_claim
-- $3 is who has it from now on, null for nobody.
UPDATE tasks
SET claimed_by = $3, claimed_at = CASE WHEN $3::text IS NULL THEN NULL ELSE $4::timestamptz END,
    version = version + 1
WHERE namespace = $1 AND task_id = $2;

-- name: change_assignees
UPDATE tasks
SET assigned_users = $3, assigned_groups = $4, claimed_by = NULL, claimed_at = NULL,
    version = version + 1
WHERE namespace = $1 AND task_id = $2;

-- name: move_timers
UPDATE tasks
SET advanced_until = GREATEST(advanced_until, $3)
WHERE namespace = $1 AND task_id = $2;

-- name: open_human_ages
-- How long each has been open; $2 bounds how many are looked at, the oldest first, by the index of
-- the open ones.
SELECT now() - created_at AS age
FROM tasks
WHERE namespace = $1 AND status = 'open' AND type = 'human'
ORDER BY position
LIMIT $2;
