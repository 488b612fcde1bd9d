"""What the worker of the built-in handlers makes of catalogue and settings."""

from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ConfigurationError
from sdk.builtins import serving

CATALOGUE = """
connectors:
  crm:
    http: {url: "https://crm.test", tokenEnv: CRM_TOKEN, calls: {"PUT /a": {}}}
topics: [events]
handlers:
  call_crm: {taskQueue: crm-tq, builtIn: http_call, maxConcurrency: 3, ratePerSecond: 7}
  publish: {taskQueue: builtin-tq, builtIn: publish_event}
  start: {taskQueue: builtin-tq, builtIn: start_definition}
  own: {taskQueue: own-tq}
"""
ALL = {"kafka_bootstrap_servers": "127.0.0.1:1", "router_address": "127.0.0.1:1"}


@pytest.fixture
def composed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compose a worker of a catalogue, by its settings."""
    monkeypatch.setenv("CRM_TOKEN", "s3cret")

    def make(text: str = CATALOGUE, **settings: Any) -> Any:
        file = tmp_path / "catalogue.yaml"
        file.write_text(text)
        given = serving.BuiltInSettings(
            environment="local",
            temporal_address="127.0.0.1:1",
            ledger_address="127.0.0.1:1",
            catalogue=file,
            **settings,
        )
        return serving.composed(given, serving.catalogue.load(file))

    return make


async def test_handlers_are_served_as_the_catalogue_lists_them(composed: Any) -> None:
    queues, neighbours = composed(**ALL)
    assert {queue: [one.name for one in served] for queue, served in queues.items()} == {
        "crm-tq": ["call_crm"],
        "builtin-tq": ["publish", "start"],
    }
    [call] = queues["crm-tq"]
    assert (call.limits.max_concurrency, call.limits.rate_per_second) == (3, 7.0)
    assert {component.name for component in neighbours.components} == {
        "http",
        "publisher",
        "router",
    }
    for component in neighbours.components:
        await component.stop()


async def test_what_no_served_handler_needs_may_be_missing(composed: Any) -> None:
    queues, neighbours = composed(task_queues=("crm-tq",))
    assert list(queues) == ["crm-tq"]
    assert [component.name for component in neighbours.components] == ["http"]


@pytest.mark.parametrize(
    ("text", "settings", "says"),
    [
        ("handlers: {own: {taskQueue: own-tq}}", ALL, "lists no handler with builtIn"),
        ("{}", ALL, "nothing to serve"),
        (CATALOGUE, {**ALL, "task_queues": ("own-tq",)}, "no built-in handler on own-tq"),
        (CATALOGUE, {"router_address": "a:1"}, "BACKBONE_KAFKA_BOOTSTRAP_SERVERS is missing"),
        (CATALOGUE, {"kafka_bootstrap_servers": "a:1"}, "BACKBONE_ROUTER_ADDRESS is missing"),
        (CATALOGUE.replace("CRM_TOKEN", "NO_TOKEN"), ALL, "NO_TOKEN is not set"),
    ],
)
async def test_what_cannot_be_served_is_told_before_anything_begins(
    composed: Any, text: str, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        composed(text, **settings)
