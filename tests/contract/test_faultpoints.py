"""Every call that leaves a process has a fault point on each side, and every fault point a call."""

import textwrap

import crashpoints_source as source
import pytest

REGISTRY = "services/registry/src/registry/adapters"
ROUTER = "services/router/src/router/adapters"
RELAY = "services/outbox-relay/src/outbox_relay/adapters"
SDK = "libs/sdk/src/sdk"

READS = {
    "services/ledger/src/ledger/service/runs.py": {
        *("RunLedger.get_run", "RunLedger.list_runs", "RunLedger.last_run"),
    },
    "services/ledger/src/ledger/service/tasks.py": {
        *("TaskLedger.get", "TaskLedger.page", "TaskLedger.changes"),
    },
    "services/ledger/src/ledger/service/control.py": {
        *("ControlLedger.open_executions", "ControlLedger.history_of", "ControlLedger.requests"),
    },
    "services/ledger/src/ledger/service/operations.py": {"OperationLedger.page"},
    "services/ledger/src/ledger/service/dead_letters.py": {
        *("DeadLetterLedger.resolutions", "DeadLetterLedger.openings"),
    },
    "services/ledger/src/ledger/service/subjects.py": {
        f"SubjectLedger.{name}" for name in ("resolve", "reveals", "get")
    },
    "services/ledger/src/ledger/service/switches.py": {
        *("SwitchLedger.page", "SwitchLedger.halting"),
    },
    "services/ledger/src/ledger/service/schedules.py": {"ScheduleLedger.list_due_times"},
    "services/ledger/src/ledger/service/schedule_control.py": {
        f"ScheduleControl.{name}" for name in ("get", "overdue")
    },
    "services/ledger/src/ledger/service/schedule_explaining.py": {"ScheduleExplaining.explain"},
    "services/ledger/src/ledger/service/schedule_watch.py": {"ScheduleWatch.look"},
    "services/ledger/src/ledger/service/inbox_watch.py": {"InboxWatch.look"},
    "services/ledger/src/ledger/service/overviews.py": {"Overviews.look"},
    "services/ledger/src/ledger/service/shadows.py": {
        *("ShadowLedger.get", "ShadowLedger.page", "ShadowLedger.decisions"),
    },
    "services/ledger/src/ledger/service/pending.py": {
        *("PendingLedger.find_waiting", "PendingLedger.page"),
    },
    "services/ledger/src/ledger/service/routing.py": {
        *("RoutingLedger.page", "RoutingLedger.range_at"),
    },
    "services/ledger/src/ledger/service/replays.py": {
        *("ReplayLedger.get", "ReplayLedger.page", "ReplayLedger.starts"),
        # Looks whether there is something to begin, before it begins it.
        "ReplayLedger.begin",
    },
    "services/ledger/src/ledger/service/backfills.py": {
        *("BackfillLedger.get", "BackfillLedger.page", "BackfillLedger.due_times"),
        # As above.
        "BackfillLedger.begin",
    },
    "services/ledger/src/ledger/service/instances.py": {
        *("InstanceLedger.waiting", "InstanceLedger.get", "InstanceLedger.page"),
    },
    "services/ledger/src/ledger/adapters/instance_backlog.py": {"InstanceBacklog.look"},
    f"{REGISTRY}/postgres_materialisations.py": {
        f"PostgresMaterialisations.{name}" for name in ("all", "of")
    },
    f"{REGISTRY}/postgres_leadership.py": {"PostgresLeases.lease"},
    f"{REGISTRY}/postgres_drift_log.py": {f"PostgresDriftLog.{name}" for name in ("open", "page")},
    f"{REGISTRY}/postgres_resources.py": {
        f"PostgresResourceStore.{name}"
        for name in (
            *("request", "resource", "resource_at", "resources_at_revisions", "payload_schemas"),
            *("page", "changed", "history", "released", "revision"),
        )
    },
    f"{ROUTER}/grpc_resolutions.py": {"GrpcResolutions.of"},
    f"{ROUTER}/ledger_replays.py": {"LedgerReplays.get"},
    # A question to a worker, of which nothing stays: the person who asked asks again.
    f"{ROUTER}/temporal_simulations.py": {"TemporalRunSimulator.simulate"},
    f"{ROUTER}/kafka_reading.py": {"Reading.poll"},
    # Records that nothing was made of yet come again.
    f"{ROUTER}/kafka_fetching.py": {"_fetch"},
    f"{ROUTER}/registry_history.py": {"RegistryHistory.at", "RegistryHistory.changed_since"},
    f"{SDK}/inbox/postgres.py": {
        f"PostgresInboxStore.{name}" for name in ("ready", "gaps", "refusals")
    },
    "libs/eventstore/src/eventstore/grpc_outbox.py": {
        f"OutboxServicer.{name}" for name in ("ListParkedEvents", "GetOutbox", "_plan")
    },
    "libs/eventstore/src/eventstore/grpc_audit.py": {"AuditServicer.GetCheckpoint"},
    "libs/eventstore/src/eventstore/sealing.py": {"Sealer._settle"},
    "libs/eventstore/src/eventstore/verification.py": {"Verifier.step"},
    f"{RELAY}/postgres_outbox.py": {
        f"PostgresOutboxSession.{name}" for name in ("lead", "waiting_streams", "lag")
    },
}
"""What only reads: whoever asked asks again, and nothing can be half done."""

HEALTH = {
    "services/orchestrator-worker/src/orchestrator_worker/adapters/postgres_context.py": {
        "PostgresContextSource.check"
    },
    f"{ROUTER}/kafka_topics.py": {"missing"},
    f"{ROUTER}/ledger_routing.py": {"LedgerDecisionLog.ping"},
    f"{ROUTER}/redis_seen.py": {"RedisSeenEvents.ready"},
    f"{SDK}/builtins/serving.py": {"_temporal", "_topics"},
}
"""Looks whether a neighbour is there."""

OTHERS = {
    # As it ends: a crash here is one without it, after which the lease runs out.
    f"{REGISTRY}/postgres_leadership.py": {"PostgresLeadership._give_back"},
    # Opens with its first read, which has the pair.
    f"{ROUTER}/registry_resources.py": {"RegistryResources._changes"},
    # The block is its caller's, which has the pair; a savepoint is inside of it; tables are made
    # before the first record is read, and made again does nothing.
    f"{SDK}/inbox/postgres.py": {
        "PostgresInboxStore.transaction",
        "PostgresInboxTransaction.savepoint",
    },
    f"{SDK}/inbox/installation.py": {"install"},
    # The locks and the listening of a session, which end with the process: several calls, one pair.
    f"{RELAY}/postgres_outbox.py": {"PostgresOutboxSession.open", "PostgresOutboxSession.change"},
    # A setting of its session, before the first notification, which has the pair.
    "libs/eventstore/src/eventstore/wakeup.py": {"RelayWakeup._run"},
    # The thread that has delivery reports come in.
    f"{RELAY}/kafka_publisher.py": {"_Life._serve"},
    # Done again by every worker that starts, and from time to time: both are idempotent.
    "services/orchestrator-worker/src/orchestrator_worker/adapters/temporal_sweep_clock.py": {
        "put"
    },
    # Runs a handler in a user's test.
    f"{SDK}/testing.py": {"invoke"},
}

ALLOWED = {
    (path, function)
    for group in (READS, HEALTH, OTHERS)
    for path, functions in group.items()
    for function in functions
}


def test_every_external_call_has_a_fault_point_on_each_side():
    found = [call for call in source.unpaired() if (call.path, call.function) not in ALLOWED]
    assert not found, "\n".join(str(call) for call in found)


def test_nothing_is_allowed_that_does_not_need_it():
    assert {(call.path, call.function) for call in source.unpaired()} >= ALLOWED


def test_every_fault_point_has_its_own_name_and_its_other_side():
    names = [point.name for point in source.points()]
    assert len(names) == len(set(names))
    sides = {"before": set(), "after": set()}
    for point in source.points():
        service, side, what = point.pair
        sides[side].add((service, what))
    assert sides["before"] == sides["after"]
    assert {service for service, _ in sides["before"]} == {
        *("router", "worker", "ledger", "registry", "relay", "sdk", "eventstore"),
    }


def test_a_point_that_is_taken_away_is_missed():
    files = {point.path for point in source.points()}
    assert len(files) > 10
    for path in sorted(files):
        lines = (source.ROOT / path).read_text().splitlines()
        points = source.points_of("\n".join(lines), path)
        allowed = {function for where, function in ALLOWED if where == path}
        for line in {point.line for point in points}:
            # A line that is as long and does nothing.
            without = [
                *lines[: line - 1],
                lines[line - 1].split("faultpoint")[0] + "None",
                *lines[line:],
            ]
            text = "\n".join(without)
            left = source.points_of(text, path)
            sides = {(one.pair[0], one.pair[2]): [] for one in left}
            for one in left:
                sides[one.pair[0], one.pair[2]].append(one.pair[1])
            calls = [one for one in source.unpaired_of(text, path) if one.function not in allowed]
            assert calls or any(len(each) == 1 for each in sides.values()), f"{path}:{line}"


PAIRED = {
    "a stub's method": """
        async def put(self):
            faultpoint("x.before_put")
            try:
                await self._stub.PutThing(request, timeout=4)
            except Error:
                raise
            faultpoint("x.after_put")
        """,
    "a transaction, by its end": """
        async def write(self):
            async with self._postgres.transaction(namespace) as transaction:
                await transaction.execute("INSERT")
                faultpoint("x.before_write")
            faultpoint("x.after_write")
        """,
    "work that is run in a transaction": """
        async def write(self, name, work):
            async def locked(transaction):
                result = await work(transaction)
                faultpoint(f"x.before_{name}")
                return result
            result = await self._database.retrying(namespace, locked)
            faultpoint(f"x.after_{name}")
            return result
        """,
    "two calls": """
        async def put(self):
            faultpoint("x.before_update")
            await handle.update(replace)
            faultpoint("x.after_update")
            faultpoint("x.before_trigger")
            await handle.trigger()
            faultpoint("x.after_trigger")
        """,
    "a stream": """
        async def find(self):
            faultpoint("x.before_find")
            async for event in handle.fetch_history_events():
                faultpoint("x.after_find")
        """,
    "nothing external": """
        async def go(self):
            await asyncio.sleep(1)
            await self._stub.channel_ready()
            await self._call("seek", place)
            await transaction.fetchval("SELECT 1")
            request.failure.CopyFrom(failure)
        """,
}

UNPAIRED = {
    "gRPC": "await self._stub.GetThing(request)",
    "gRPC, awaited elsewhere": "await asyncio.wait_for(self._ledger.PutThing(request), 5)",
    "gRPC, on a new stub": "await things_pb2_grpc.ThingsStub(channel).GetThing(request)",
    "gRPC's stream": "change = await call.read()",
    "Temporal": "await self._clients[namespace].start_workflow(run)",
    "Temporal's handles": "await client.get_workflow_handle(run_id).signal('x')",
    "PostgreSQL": "await self._connection.fetchval('SELECT pg_try_advisory_lock(1)')",
    "a transaction": "async with self._store.transaction(namespace): pass",
    "a transaction among others": "async with slots, connection.transaction(readonly=True): pass",
    "Kafka": "await self._producer.send(topic)",
    "HTTP": "async with http.stream('GET', url) as response: pass",
    "Kafka's consumer": "await self._call('commit', offsets=positions)",
    "Redis": "await self._redis.mget(keys)",
    "Redis, several": "await pipeline.execute()",
    "a handler": "await handler.run(value, context)",
}


@pytest.mark.parametrize("text", PAIRED.values(), ids=PAIRED.keys())
def test_calls_with_their_pairs_are_fine(text):
    assert source.unpaired_of(textwrap.dedent(text), "x.py") == []


@pytest.mark.parametrize("statement", UNPAIRED.values(), ids=UNPAIRED.keys())
def test_a_call_without_its_pair_is_found(statement):
    def found(*lines):
        body = "".join(f"\n    {line}" for line in lines)
        return [call.line for call in source.unpaired_of(f"async def go(self):{body}", "x.py")]

    before, after = 'faultpoint("x.before_a")', 'faultpoint("x.after_a")'
    assert found(statement) == [2]
    assert found(before, statement) == [3]
    assert found(statement, after) == [2]
    assert found(after, statement, before) == [3]
    assert found(before, statement, after.replace("x.", "y.")) == [3]
    assert found(before, statement, after.replace("_a", "_b")) == [3]
    # One pair for two calls leaves the place between them.
    assert found(before, statement, statement, after) == [3, 4]


def test_names_with_a_hole_are_those_that_are_passed():
    text = """
class Ledger:
    async def _write(self, name, work):
        faultpoint(f"x.before_{name}")
        await self._database.retrying(namespace, work)
        faultpoint(f"x.after_{name}")

    async def record(self):
        await self._write("record", work)
        await self._write("close", work)
"""
    names = [point.name for point in source.points_of(text, "x.py")]
    assert names == ["x.before_record", "x.before_close", "x.after_record", "x.after_close"]


def test_a_hole_in_a_function_is_filled_by_the_other_modules_of_its_folder():
    path = "services/ledger/src/ledger/service/writing.py"
    names = [point.name for point in source.points_of((source.ROOT / path).read_text(), path)]
    assert {"ledger.before_record_run", "ledger.after_cancel_run"} <= set(names)
