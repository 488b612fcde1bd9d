-- Finding runs by what they belong to, and counting what the overview tells. The search path is the
-- service's schema.
SET lock_timeout = '5s';

-- The subjects of the events that started a run. Of runs that were recorded before there are none.
CREATE TABLE run_subjects (
    namespace text NOT NULL,
    subject text NOT NULL,
    run_id text NOT NULL,
    CONSTRAINT run_subjects_pkey PRIMARY KEY (namespace, subject, run_id)
);

CREATE INDEX runs_correlation_idx ON runs (namespace, correlation_id, position DESC);

-- What failed is few among many.
CREATE INDEX runs_failed_idx ON runs (namespace, position DESC) WHERE status = 'failed';
CREATE INDEX tasks_failed_idx ON tasks (namespace, position DESC) WHERE status = 'failed';

-- Which of people's tasks are late.
CREATE INDEX tasks_due_idx ON tasks (namespace, due_at)
    WHERE status = 'open' AND type = 'human' AND due_at IS NOT NULL;

DO $isolated$
BEGIN
    PERFORM isolate_namespaces('run_subjects', 'SELECT, INSERT');
END
$isolated$;
