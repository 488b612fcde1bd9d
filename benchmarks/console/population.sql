-- The ledger of a namespace after months: $1 runs, each tenth of which waits for a person. Rows alone,
-- made of one run and its task; the events that runs leave behind are not asked for by pages.
WITH
    grown AS (
        SELECT
            number,
            CASE
                WHEN number % 10 = 0 THEN 'waiting' WHEN number % 37 = 0 THEN 'failed' ELSE 'completed'
            END AS status,
            clock_timestamp() - number * interval '1 second' AS at
        FROM generate_series(1, $1::integer) AS number
    ),
    runs AS (
        INSERT INTO ledger.runs
        SELECT
            (jsonb_populate_record(run, jsonb_build_object(
                'run_id', run.definition_id || ':event:grown-' || grown.number,
                'position', -grown.number,
                'status', grown.status,
                'recorded_at', grown.at,
                'closed_at', CASE WHEN grown.status <> 'waiting' THEN grown.at + interval '1 second' END,
                'open_human', (grown.status = 'waiting')::integer,
                'failure_type', CASE WHEN grown.status = 'failed' THEN 'Generated' END,
                'failure_message', CASE WHEN grown.status = 'failed' THEN 'generated' END,
                'correlation_id', 'grown-' || grown.number
            ))).*
        FROM ledger.runs AS run, grown
        WHERE run.run_id = $2
    )
INSERT INTO ledger.tasks
SELECT
    (jsonb_populate_record(task, jsonb_build_object(
        'task_id', gen_random_uuid(),
        'position', -grown.number,
        'run_id', task.definition_id || ':event:grown-' || grown.number,
        'created_at', grown.at,
        'due_at', grown.at + interval '2 hours'
    ))).*
FROM ledger.tasks AS task, grown
WHERE task.run_id = $2 AND grown.status = 'waiting';
