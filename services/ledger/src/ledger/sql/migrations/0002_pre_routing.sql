-- What the router decided of every event. The search path is the service's schema.
SET lock_timeout = '5s';

-- The events of which something is decided: the lock by which those who record copies of one event
-- take turns, and what its bytes were. Narrow, since it has a key over all months and so is not
-- partitioned; kept as long as the decisions are.
CREATE TABLE routed_events (
    namespace text NOT NULL,
    event_key text NOT NULL,
    digest bytea NOT NULL,
    -- How often it was recorded, copies and repetitions included: 1 says that nothing is known yet.
    recordings bigint NOT NULL DEFAULT 1,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    CONSTRAINT routed_events_pkey PRIMARY KEY (namespace, event_key),
    CONSTRAINT routed_events_digest_check CHECK (octet_length(digest) = 32)
);

CREATE INDEX routed_events_last_idx ON routed_events (last_at);

CREATE SEQUENCE routing_decisions_decision_id_seq AS bigint;

-- One row for each place, cause and definition, and one more where the same record, routed again,
-- had an effect that it did not have before. A unique key of a partitioned table holds the
-- partition's column: that there is no other row is held by the lock of the event.
CREATE TABLE routing_decisions (
    decision_id bigint NOT NULL DEFAULT nextval('routing_decisions_decision_id_seq'),
    decided_at timestamptz NOT NULL,
    namespace text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    cause text NOT NULL,
    source text NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    definition_id text NOT NULL,
    definition_version bigint NOT NULL,
    outcome text NOT NULL,
    trigger_names text[] NOT NULL,
    run_id text,
    clause text,
    seen text,
    detail text,
    registry_revision bigint NOT NULL,
    settled_at timestamptz,
    CONSTRAINT routing_decisions_pkey PRIMARY KEY (
        namespace, topic, partition, record_offset, definition_id, cause, decision_id, decided_at
    ),
    CONSTRAINT routing_decisions_place_check CHECK (partition >= 0 AND record_offset >= 0),
    CONSTRAINT routing_decisions_outcome_check CHECK (outcome IN (
        'started', 'signalled', 'duplicate', 'filtered', 'errored', 'disabled', 'held', 'batched',
        'limited', 'discarded'
    )),
    CONSTRAINT routing_decisions_run_check
        CHECK (run_id IS NOT NULL OR outcome NOT IN ('started', 'signalled'))
) PARTITION BY RANGE (decided_at);

ALTER SEQUENCE routing_decisions_decision_id_seq OWNED BY routing_decisions.decision_id;

-- The safety net: recording never fails because nobody made the month.
CREATE TABLE routing_decisions_default PARTITION OF routing_decisions DEFAULT;

-- In the order in which they are shown; few sources use the same id.
CREATE INDEX routing_decisions_event_idx
    ON routing_decisions (namespace, event_id, decided_at, decision_id);
CREATE INDEX routing_decisions_definition_idx
    ON routing_decisions (namespace, definition_id, decided_at, decision_id);
-- By an expression, so that it serves no other question: a month without statistics yet has all indexes
-- look alike, and one that knows the time alone would be looked through for each of many events.
CREATE INDEX routing_decisions_newest_idx
    ON routing_decisions (namespace, (decided_at AT TIME ZONE 'UTC'), decision_id);
-- Who looks for these looks among very many others.
CREATE INDEX routing_decisions_rare_idx
    ON routing_decisions (namespace, outcome, decided_at, decision_id)
    WHERE outcome NOT IN ('started', 'duplicate', 'filtered');
-- The one place of an event that has the effect, among however many copies.
CREATE INDEX routing_decisions_effect_idx ON routing_decisions (namespace, event_id, source)
    WHERE outcome IN ('started', 'signalled', 'held', 'batched', 'limited');

-- Records without a candidate, a row for each partition of a batch.
CREATE TABLE unrouted_ranges (
    recorded_at timestamptz NOT NULL,
    namespace text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL,
    records bigint NOT NULL,
    registry_revision bigint NOT NULL,
    CONSTRAINT unrouted_ranges_offsets_check CHECK (
        partition >= 0 AND first_offset >= 0 AND last_offset >= first_offset
        AND records BETWEEN 1 AND last_offset - first_offset + 1
    )
) PARTITION BY RANGE (recorded_at);

CREATE TABLE unrouted_ranges_default PARTITION OF unrouted_ranges DEFAULT;

-- Ranges overlap after a redelivery, which no order of their ends can find. Topic and partition are
-- looked at in the row: an offset lies in a range or two of each partition.
CREATE INDEX unrouted_ranges_offsets_idx
    ON unrouted_ranges USING gist (int8range(first_offset, last_offset, '[]'));

DO $first$
BEGIN
    PERFORM months_ensure('routing_decisions', 3);
    PERFORM months_ensure('unrouted_ranges', 3);
END
$first$;
