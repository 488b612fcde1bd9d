import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import sdk


class Reminder(BaseModel):
    invoice: str


@sdk.task_handler("send_reminder")
async def send_reminder(_reminder: Reminder, _context: sdk.TaskContext) -> None:
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


def test_missing_setting_is_one_sentence_and_an_exit_code() -> None:
    program = """
import sdk
from pydantic import BaseModel

class Reminder(BaseModel):
    invoice: str

@sdk.task_handler("send_reminder")
async def send_reminder(reminder: Reminder, context: sdk.TaskContext) -> None: ...

sdk.run_worker(handlers=[send_reminder], task_queue="notifications-tq")
"""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("BACKBONE_")
    }
    environment["BACKBONE_TEMPORAL_ADDRESS"] = "127.0.0.1:7233"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == "task-worker: setting BACKBONE_LEDGER_ADDRESS: Field required\n"
    assert done.returncode == 2


def test_worker_of_the_readme_is_one() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "a_users_module"}
    exec(readme.split("```python\n", 1)[1].split("```", 1)[0], names)  # noqa: S102 - our own text
    assert names["send_reminder"].name == "send_reminder"
