"""Kill switches on the whole suite: each point is stopped and goes on, and nothing is lost."""

import json
from pathlib import Path

import pytest
from waiting import until

DEFINITION = "e2e.letters-stopped"
FILE = Path(__file__).parent / "definitions" / "letters-stopped.yaml"
LABEL = ("--label", "risk=letters")


class Switches:
    """Kill switches as the command has them."""

    def __init__(self, suite, backbone):
        self.suite, self.backbone = suite, backbone

    def throw(self, point, *words):
        """Throw one; return its id."""
        thrown = self.backbone(
            "switches", "throw", "--at", point, *words, "--reason", "a drill", "-o", "json"
        )
        return json.loads(thrown)["switch_id"]

    def reset(self, *words):
        """Reset some; return their ids."""
        lines = self.backbone("switches", "reset", *words, "--reason", "it is over", "-o", "json")
        return [json.loads(line)["switch_id"] for line in lines.splitlines()]

    def thrown(self):
        lines = self.backbone("switches", "list", "--all-namespaces", "-o", "json").splitlines()
        return {one["switch_id"]: one for one in map(json.loads, lines)}

    async def throw_and_be_heard(self, point, *words):
        """Throw one by labels; return once the router has told what they select.

        It has heard of all that were thrown before, then.
        """
        switch_id = self.throw(point, *LABEL, *words)

        async def told():
            return self.thrown()[switch_id]["definitions"] == 1

        assert await until(told, seconds=30)
        return switch_id

    def refusal(self, *words):
        """Return what the command says that refuses to do something."""
        answer = self.backbone.ask(*words)
        assert answer.code != 0
        return answer.said


@pytest.fixture
def switches(suite, backbone, letters):
    assert letters, "of the type of event that it listens to"
    backbone("apply", "-f", str(FILE), "--reason", "to be stopped")
    yield (made := Switches(suite, backbone))
    # What other tests of this suite do is not to be stopped.
    for switch_id in made.thrown():
        made.reset(switch_id)


@pytest.mark.timeout(300)
async def test_nothing_selected_starts_until_the_reset_and_then_all_once_in_order(
    switches, letters, backbone
):
    switch_id = await switches.throw_and_be_heard("run")
    held = letters.send(*(f"stopped-{n % 3}" for n in range(9)), "held-1")
    others = [held.pop()]
    await letters.decided()
    await letters.are_in_runs("e2e.letters-held", others)
    assert await letters.runs(DEFINITION) == []
    assert [one["reason"] for one in letters.pending(DEFINITION)] == ["halted"] * 9
    told = switches.refusal("trigger", DEFINITION, "--reason", "now")
    assert f"run is stopped by kill switch {switch_id}" in told
    decision = json.loads(
        backbone("decisions", "--definition", DEFINITION, "--limit", "1", "-o", "json")
    )
    assert (decision["outcome"], switch_id in decision["detail"]) == ("limited", True)
    assert switches.reset("--at", "run", *LABEL) == [switch_id]
    held += letters.send(*(f"stopped-{n % 3}" for n in range(9)))
    await letters.are_in_runs(DEFINITION, held)
    runs = await letters.by_their_starts(DEFINITION)
    started = [number for run in runs for number in run.numbers]
    for person in ("stopped-0", "stopped-1", "stopped-2"):
        of_one = [number for number in started if letters.sent_to.get(number) == person]
        assert of_one == sorted(of_one), person
    assert switches.thrown() == {}


@pytest.mark.timeout(300)
async def test_runs_are_recorded_and_their_tasks_begin_with_the_reset_unless_cancelled(
    switches, letters, backbone
):
    switch_id = await switches.throw_and_be_heard("effect")
    numbers = letters.send("stopped-a", "stopped-b")
    await letters.are_in_runs(DEFINITION, numbers)
    runs = {
        letters.sent_to[run.numbers[0]]: run.run_id
        for run in await letters.by_their_starts(DEFINITION)
        if run.numbers[0] in numbers
    }

    async def waits():
        found = []
        for run_id in runs.values():
            described = await letters.temporal.get_workflow_handle(run_id).describe()
            pending = described.raw_description.pending_activities
            found += [one.activity_type.name for one in pending]
        return found == ["backbone.await_effects"] * 2

    assert await until(waits, seconds=30)

    def status(person):
        return json.loads(backbone("run", "show", runs[person], "-o", "json"))["status"]

    backbone("runs", "cancel", runs["stopped-a"], "--reason", "not any more")

    async def is_cancelled():
        handle = letters.temporal.get_workflow_handle(runs["stopped-a"])
        return (await handle.describe()).status.name == "CANCELED"

    assert await until(is_cancelled, seconds=30)
    assert (status("stopped-a"), status("stopped-b")) == ("cancelled", "running")
    assert switches.reset(switch_id) == [switch_id]

    async def is_done():
        return status("stopped-b") == "completed"

    assert await until(is_done, seconds=60)


@pytest.mark.timeout(300)
async def test_events_stay_in_kafka_until_what_comes_in_is_let_in_again(switches, letters):
    before = switches.suite.log("router").stat().st_size
    switches.throw("ingress")
    await switches.throw_and_be_heard("effect")
    switches.reset("--at", "effect", *LABEL)
    numbers = letters.send(*(f"stopped-{n}" for n in range(4)))

    async def held():
        new = switches.suite.log("router").read_bytes()[before:].decode()
        return "partition_held" in new and "ingress is stopped by kill switch" in new

    assert await until(held, seconds=30)
    assert await letters.runs(DEFINITION) == []
    assert letters.pending(DEFINITION) == []
    assert len(switches.reset("--at", "ingress")) == 1
    await letters.are_in_runs(DEFINITION, numbers)
