"""`backbone doctor` on a suite in which things are broken for real, and put back.

Other tests leave things behind in the suite: what a test has not caused, it does not look at.
"""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import observing
import pytest
from confluent_kafka import Producer
from letters import HELD
from temporalio.client import Client
from waiting import until

from contracts import names

DOCTORED = "e2e.doctored"
DEFINITION = Path("tests/e2e/definitions/doctored.yaml")
PATIENCE = 60.0  # seconds
OF_THE_STACK = {
    "not-configured",
    "unreachable",
    "degraded",
    "look-failed",
    "topic-missing",
    "nobody-routes",
    "nobody-reconciles",
    "outbox-behind",
}
"""Findings that no other test leaves behind: it puts back what it stops."""


class Doctor:
    """The command, and what it says."""

    def __init__(self, backbone):
        self._backbone = backbone
        self.code, self.said, self.printed = 0, {}, ""

    async def look(self, *words):
        """Run the command, and remember what it says."""
        answer = await asyncio.to_thread(self._backbone.ask, "doctor", "-o", "json", *words)
        self.code, self.printed = answer.code, answer.said + answer.printed
        self.said = answer.document
        assert self.code == (1 if self.said["errors"] else 0), self.printed

    def found(self, finding, where):
        """Return the finding, None when it was not found."""
        for one in self.said["findings"]:
            if (one["finding"], one["where"]) == (finding, where):
                return one
        return None

    async def finds(self, finding, where, *words):
        """Look until it finds this, and return it."""

        async def there():
            await self.look(*words)
            return self.found(finding, where) is not None

        assert await until(there, seconds=PATIENCE), self.printed
        return self.found(finding, where)

    async def finds_no(self, finding, where, *words):
        """Look until it does not find this any more."""

        async def gone():
            await self.look(*words)
            return self.found(finding, where) is None

        assert await until(gone, seconds=PATIENCE), self.printed


@pytest.fixture
def doctor(backbone):
    return Doctor(backbone)


@pytest.fixture(scope="module", autouse=True)
def doctored(suite, backbone):
    backbone("apply", "-f", str(DEFINITION), "--reason", "to be broken")
    yield
    backbone("retire", DOCTORED, "--reason", "not to be broken any more")


@pytest.mark.timeout(120)
async def test_a_stack_that_is_well_has_no_error_of_its_own(doctor):
    async def well():
        await doctor.look()
        return not OF_THE_STACK & {one["finding"] for one in doctor.said["findings"]}

    assert await until(well, seconds=PATIENCE), doctor.printed
    assert {one["look"]: one["error"] for one in doctor.said["looks"] if one["error"]} == {}
    assert len(doctor.said["looks"]) > 20


@pytest.mark.timeout(120)
async def test_the_queues_of_the_stack_are_served(backbone):
    async def polled():
        found = await asyncio.to_thread(backbone.ask, "queues", "-o", "json")
        served = {one["task_queue"] for one in found.lines if one["pollers"]}
        return set(names.OWN_TASK_QUEUES) <= served

    assert await until(polled, seconds=PATIENCE)


@pytest.mark.timeout(180)
async def test_a_relay_that_is_stopped_leaves_the_outbox_behind(doctor, suite, backbone):
    suite.stop("outbox-relay")
    try:
        backbone("trigger", DOCTORED, "--reason", "nobody publishes it")
        found = await doctor.finds("outbox-behind", "ledger", "--patience", "0s")
    finally:
        suite.start_process("outbox-relay")
    assert found["severity"] == "error"
    assert found["count"] >= 1
    assert "events of the ledger are not published" in found["what"]
    assert "`make logs NAME=outbox-relay`" in found["do"]
    assert doctor.code == 1
    suite.wait_ready("outbox-relay")
    await doctor.finds_no("outbox-behind", "ledger", "--patience", "0s")


@pytest.mark.timeout(180)
async def test_a_router_that_is_away_hides_nothing_else(doctor, suite):
    suite.stop("router")
    try:
        group = await doctor.finds("nobody-routes", "dev.backbone.router")
    finally:
        suite.start_process("router")
    assert suite.addresses["router"].grpc in doctor.found("unreachable", "router")["what"]
    assert group["severity"] == "error"
    severities = {one["look"]: one["severity"] for one in doctor.said["looks"]}
    assert severities["dead letters"] is None
    assert severities["health of the ledger"] == severities["topics"] == "ok"
    suite.wait_ready("router")
    await doctor.finds_no("unreachable", "router")
    await doctor.finds_no("nobody-routes", "dev.backbone.router")


@pytest.mark.timeout(180)
async def test_a_record_that_is_no_event_is_an_open_dead_letter(doctor, suite, backbone):
    await doctor.look()
    before = doctor.found("dead-letters-open", "malformed_json")
    since = datetime.now(UTC).isoformat()
    producer = Producer({"bootstrap.servers": suite.endpoints.kafka_bootstrap_servers})
    producer.produce(observing.INPUT, value=b"{", key=b"doctored")
    assert producer.flush(30) == 0
    wanted = 1 + (before["count"] if before else 0)

    async def counts(number):
        await doctor.look()
        found = doctor.found("dead-letters-open", "malformed_json")
        return (found["count"] if found else 0) == number

    assert await until(lambda: counts(wanted), seconds=PATIENCE), doctor.printed
    found = doctor.found("dead-letters-open", "malformed_json")
    assert found["severity"] == "warning"
    assert "`backbone dlq list --code malformed_json`" in found["do"]
    (letter,) = (
        json.loads(line)
        for line in backbone(
            "dlq", "list", "--code", "malformed_json", "--from", since, "-o", "json"
        ).splitlines()
    )
    backbone("dlq", "discard", letter["place"], "--yes", "--reason", "it was a test")
    assert await until(lambda: counts(wanted - 1), seconds=PATIENCE), doctor.printed


@pytest.mark.timeout(180)
async def test_events_that_a_disabled_definition_holds_are_told(doctor, letters, backbone):
    backbone("disable", HELD, "--reason", "broken")
    try:
        assert await until(letters.a_letter_is_held, seconds=PATIENCE)
        found = await doctor.finds("events-held", HELD)
    finally:
        backbone("enable", HELD, "--held", "discard", "--reason", "mended")
    assert "it is disabled" in found["what"]
    assert f"`backbone enable {HELD} --held start" in found["do"]
    await doctor.finds_no("events-held", HELD)


@pytest.mark.timeout(240)
async def test_a_temporal_schedule_that_somebody_deleted_is_missing(doctor, suite, backbone):
    """The reconciler is made to look once an hour, so that it does not put it back at once."""
    began = datetime.now(UTC)
    suite.restart("registry", env={"BACKBONE_RECONCILE_INTERVAL": "PT1H"})
    try:
        suite.wait_ready("registry")

        async def compared():
            told = await asyncio.to_thread(backbone, "schedules", "show", DOCTORED, "-o", "json")
            last = (json.loads(told)["reconciler"] or {}).get("compared_at")
            return last is not None and datetime.fromisoformat(last) > began

        assert await until(compared, seconds=PATIENCE)
        temporal = await Client.connect(suite.endpoints.temporal_address, namespace="dev")
        (schedule,) = [
            one.id async for one in await temporal.list_schedules() if DOCTORED in one.id
        ]
        await temporal.get_schedule_handle(schedule).delete()
        found = await doctor.finds("schedule-missing", DOCTORED)
    finally:
        suite.restart("registry", env={"BACKBONE_RECONCILE_INTERVAL": "PT1M"})
        suite.wait_ready("registry")
    assert found["severity"] == "error"
    assert f"`backbone schedules show {DOCTORED}`" in found["do"]
    assert doctor.code == 1
    await doctor.finds_no("schedule-missing", DOCTORED)
