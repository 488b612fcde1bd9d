import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import sdk
from runtime.errors import ConfigurationError


class Reminder(BaseModel):
    invoice: str


@sdk.task_handler("send_reminder")
async def send_reminder(_reminder: Reminder, _context: sdk.TaskContext) -> None:
    return None


@sdk.task_handler("geocode", rate_per_second=5)
async def geocode(_reminder: Reminder, _context: sdk.TaskContext) -> None:
    return None


@pytest.fixture
def settings() -> sdk.WorkerSettings:
    return sdk.WorkerSettings(temporal_address="127.0.0.1:1", ledger_address="127.0.0.1:1")


@pytest.mark.parametrize(
    ("handlers", "task_queue", "says"),
    [
        ([], "notifications-tq", "at least one handler"),
        ([send_reminder, send_reminder], "notifications-tq", "share a name: send_reminder"),
        ([send_reminder], "notifications", "not a task queue's name"),
        ([send_reminder], "backbone-system-tq", "is Backbone's own"),
        ([send_reminder, geocode], "notifications-tq", "geocode has limits"),
    ],
)
def test_worker_that_cannot_serve_is_refused_when_it_is_made(
    handlers: list[sdk.Handler[Reminder]],
    task_queue: str,
    says: str,
    settings: sdk.WorkerSettings,
) -> None:
    with pytest.raises(sdk.HandlerDefinitionError, match=says):
        sdk.TaskWorker(handlers=handlers, task_queue=task_queue, settings=settings)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "handlers and task_queue, or queues"),
        ({"handlers": [send_reminder]}, "go together"),
        ({"task_queue": "a-tq"}, "go together"),
        ({"queues": {}}, "at least one task queue"),
        ({"queues": {"a-tq": []}}, "at least one handler"),
        (
            {"handlers": [geocode], "task_queue": "a-tq", "queues": {"b-tq": [geocode]}},
            "or queues",
        ),
    ],
)
def test_what_a_worker_serves_is_said_in_one_way(
    given: dict[str, Any], says: str, settings: sdk.WorkerSettings
) -> None:
    with pytest.raises(sdk.HandlerDefinitionError, match=says):
        sdk.TaskWorker(**given, settings=settings)


def test_several_queues_have_handlers_of_their_own(settings: sdk.WorkerSettings) -> None:
    queues = {"notifications-tq": [send_reminder], "geocode-tq": [geocode]}
    sdk.TaskWorker(queues=queues, settings=settings)


@pytest.mark.parametrize(
    ("handlers", "says"),
    [
        ("send_reminder: {taskQueue: notification-tq}", "has it on notification-tq"),
        ("send_remainder: {taskQueue: notifications-tq}", "send_reminder is not in the catalogue"),
    ],
)
def test_a_queue_that_is_misspelled_in_one_place_is_found(
    tmp_path: Path, settings: sdk.WorkerSettings, handlers: str, says: str
) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(f"handlers:\n  {handlers}\n")
    told = settings.model_copy(update={"catalogue": file})
    with pytest.raises(ConfigurationError, match=says):
        sdk.TaskWorker(handlers=[send_reminder], task_queue="notifications-tq", settings=told)


@pytest.mark.parametrize("limits", [{"max_concurrency": 0}, {"rate_per_second": 0.0}])
def test_a_limit_that_lets_nothing_through_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(sdk.HandlerDefinitionError, match="above zero"):
        sdk.task_handler("geocode", **limits)


PROGRAM = """
import sdk
from pydantic import BaseModel

class Reminder(BaseModel):
    invoice: str

@sdk.task_handler("send_reminder")
async def send_reminder(reminder: Reminder, context: sdk.TaskContext) -> None: ...

sdk.run_worker(handlers=[send_reminder], task_queue="%s")
"""


@pytest.mark.parametrize(
    ("queue", "told", "code"),
    [
        ("a-tq", "task-worker: setting BACKBONE_LEDGER_ADDRESS: Field required\n", 2),
        ("a", "task-worker: not a task queue's name: 'a' (name-tq)\n", 1),
    ],
)
def test_what_is_wrong_is_one_sentence_and_an_exit_code(queue: str, told: str, code: int) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("BACKBONE_")
    }
    environment["BACKBONE_TEMPORAL_ADDRESS"] = "127.0.0.1:7233"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM % queue],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stderr, done.returncode) == (told, code)


def test_worker_of_the_readme_is_one() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "a_users_module"}
    exec(readme.split("```python\n", 1)[1].split("```", 1)[0], names)  # noqa: S102 - our own text
    assert names["send_reminder"].name == "send_reminder"
