"""The names of the contract: each is one thing, and what is deployed uses them."""

import importlib
import json
import re
from enum import StrEnum
from pathlib import Path

import pytest
import yaml

from contracts import identifiers, names, telemetry
from contracts.events import PAYLOAD_OF
from contracts.names import EventType, Topic

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml", ROOT / "docker-compose.dev.yml")
SETTINGS = sorted(ROOT.glob("deploy/kustomize/base/*/settings.env"))


def _enums():
    for module in (names, telemetry):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, StrEnum) and value is not StrEnum:
                yield value


@pytest.mark.parametrize("enum", list(_enums()), ids=lambda enum: enum.__name__)
def test_no_two_names_of_a_kind_are_the_same(enum):
    # Two members with one value would be one member with an alias.
    aliases = {
        name: member.name for name, member in enum.__members__.items() if member.name != name
    }
    assert not aliases


def test_workflows_and_temporal_activities_share_no_name():
    assert not {w.value for w in names.Workflow} & {a.value for a in names.TemporalActivity}


@pytest.mark.parametrize("event_type", EventType, ids=lambda event_type: event_type.name)
def test_every_event_type_has_a_topic_and_a_payload_of_its_name(event_type):
    assert isinstance(names.TOPIC_OF[event_type], Topic)
    assert f"backbone.{PAYLOAD_OF[event_type].__name__}" == event_type


def test_no_two_event_types_share_a_payload():
    assert len(set(PAYLOAD_OF.values())) == len(PAYLOAD_OF) == len(EventType)


@pytest.mark.parametrize("header", names.Header, ids=lambda header: header.name)
def test_headers_are_lower_case_as_every_client_can_send_them(header):
    assert re.fullmatch(r"[a-z][a-z0-9-]*", header)


@pytest.mark.parametrize("metric", telemetry.Metric, ids=lambda metric: metric.name)
def test_metrics_are_dotted_lower_case(metric):
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)+", metric)


@pytest.mark.parametrize(
    "queue", [names.TICK_TASK_QUEUE, names.TASK_TIMERS_TASK_QUEUE, names.SYSTEM_TASK_QUEUE]
)
def test_our_own_queues_are_task_queues(queue):
    assert re.fullmatch(identifiers.TASK_QUEUE_PATTERN, queue)


def test_compose_makes_every_topic():
    (script,) = yaml.safe_load(COMPOSE[0].read_text())["services"]["topics"]["command"]
    made = set(re.search(r"for topic in (.+?);", script, re.DOTALL)[1].replace("\\\n", "").split())
    assert made == {"dev.events"} | {names.topic("dev", topic) for topic in Topic}


CONNECTORS = {
    one["postgres"]["dsnEnv"]
    for one in yaml.safe_load((ROOT / "examples/catalogue.yaml").read_text())["connectors"].values()
    if "postgres" in one
}
"""Variables that the examples' catalogue names: a worker reads them for its connectors."""


def _compose_variables():
    services = yaml.safe_load(COMPOSE[0].read_text())["services"]
    for service, spec in services.items():
        # What only borrows an image, to run something else, is told nothing.
        if "build" in spec and "environment" in spec:
            package = Path(spec["build"]["dockerfile"]).parent.name
            variables = set(spec["environment"]) - CONNECTORS
            yield pytest.param(package, variables, id=f"compose-{service}")


def _kustomize_variables():
    for path in SETTINGS:
        variables = {line.partition("=")[0] for line in path.read_text().splitlines()}
        (deployment,) = (one.read_text() for one in path.parent.rglob("deployment.yaml"))
        variables |= set(re.findall(r"name: (BACKBONE_\w+)", deployment))
        yield pytest.param(path.parent.name, variables, id=f"kustomize-{path.parent.name}")


def _settings_of(service):
    package = service.replace("-", "_")
    return importlib.import_module(f"{package}.settings").Settings


@pytest.mark.parametrize(("service", "variables"), [*_compose_variables(), *_kustomize_variables()])
def test_deployed_variables_are_settings_and_no_required_one_is_missing(service, variables):
    fields = {
        f"BACKBONE_{name.upper()}": field
        for name, field in _settings_of(service).model_fields.items()
    }
    assert variables <= set(fields)
    assert {name for name, field in fields.items() if field.is_required()} <= variables


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.parent.name)
def test_lists_in_settings_are_json(path):
    for line in path.read_text().splitlines():
        value = line.partition("=")[2]
        if value.startswith("["):
            assert isinstance(json.loads(value), list)
