"""The workload through every service of the secure stack, judged as everywhere."""

import contextlib
import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import scenario
import workload
from history import HistoryFile

from devstack.suite import Suite

SECONDS = 60.0


@pytest.mark.timeout(400)
async def test_every_event_has_its_run_and_every_run_its_tasks(
    suite: Suite, backbone: Callable[..., str], tmp_path: Path
) -> None:
    files = [f"tests/chaos/definitions/{name}.yaml" for name in ("orders", "order-placed")]
    # As a developer, whose certificate `.backbone/env` names.
    words = ("-f", files[0], "-f", files[1], "--reason", "end-to-end test")
    backbone("-n", "dev", "apply", *words)
    source = f"e2e-secure-{uuid.uuid4().hex[:6]}"
    with contextlib.closing(HistoryFile(tmp_path / "history.jsonl")) as history:
        outcome = await scenario.run(
            suite,
            source=source,
            records=workload.plan(seed=20261130, source=source),
            seconds=SECONDS,
            history=history,
        )
    assert outcome.violations == []
    assert outcome.settled
    assert len(outcome.sent) == 240
    assert len(outcome.seen.runs) == workload.EVENTS
    assert len(outcome.seen.dead_letters) >= workload.MALFORMED
    assert {run.status for run in outcome.seen.runs} == {"waiting", "completed"}
    # What reads Kafka by hand is let in too: the command itself, and the router on its behalf.
    tail = ("--from-beginning", "--count", "1", "--timeout", "20", "-o", "json")
    (event,) = backbone("-n", "dev", "events", "tail", *tail).splitlines()
    assert json.loads(event)["topic"].startswith("dev.backbone.")
    letters = backbone("-n", "dev", "dlq", "list", "-o", "json").splitlines()
    assert len(letters) >= workload.MALFORMED
