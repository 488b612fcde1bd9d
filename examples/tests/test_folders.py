"""Each folder that stands alone is sound: what is applied, its catalogue, its handlers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nightly_report
import order_saga
import pytest
import sensor_alarm

from contracts.catalogue import Catalogue
from contracts.definitions import ActivityDefinition
from contracts.eventtypes import EventType
from contracts.kinds import Resource, ResourceDocument
from contracts.producers import Producer
from rules import checks, jsonschemas
from runtime import catalogue as catalogue_file
from runtime import yamlfiles
from sdk import Handler, PermanentError, testing

FOLDERS = ("nightly-report", "webhook-triage", "order-saga", "sensor-alarm")
WORKERS: Mapping[str, Any] = {
    "nightly-report": nightly_report,
    "order-saga": order_saga,
    "sensor-alarm": sensor_alarm,
}
ORDER = {"order": "ORD-1", "article": "kettle", "amount": 40}


def applied(folder: Path) -> list[Resource]:
    return [
        ResourceDocument.model_validate(yamlfiles.parse(path.read_text(encoding="utf-8"))).root
        for path in sorted((folder / "definitions").glob("*.yaml"))
    ]


def catalogue_of(folder: Path) -> Catalogue:
    path = folder / "catalogue.yaml"
    return catalogue_file.load(path) if path.exists() else Catalogue()


@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_applied_is_sound(examples: Path, name: str) -> None:
    resources = applied(examples / name)
    event_types = {
        one.metadata.id: {schema.version: schema.schema_ for schema in one.spec.schemas}
        for one in resources
        if isinstance(one, EventType)
    }
    surroundings = checks.Surroundings(
        event_types=event_types, catalogue=catalogue_of(examples / name)
    )
    definitions = [one for one in resources if isinstance(one, ActivityDefinition)]
    assert definitions
    for one in resources:
        if isinstance(one, EventType):
            assert checks.event_type_problems(one) == []
        elif isinstance(one, Producer):
            assert checks.producer_problems(one, surroundings) == []
        else:
            assert checks.problems(one, surroundings) == [], one.metadata.id


@pytest.mark.parametrize("name", FOLDERS)
def test_events_are_those_that_their_types_describe(examples: Path, name: str) -> None:
    resources = applied(examples / name)
    types = {one.metadata.id: one for one in resources if isinstance(one, EventType)}
    producers = [one for one in resources if isinstance(one, Producer)]
    for path in (examples / name).glob("*.jsonl"):
        for event in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            (schema,) = types[event["type"]].spec.schemas
            assert jsonschemas.validate(schema.schema_, event["payload"]) == []
            (producer,) = producers
            assert producer.may_emit(source=event["source"], event_type=event["type"])


@pytest.mark.parametrize("name", WORKERS)
def test_worker_has_every_handler_that_the_catalogue_lists_and_takes_what_it_says(
    examples: Path, name: str
) -> None:
    known: dict[str, Handler[Any]] = {one.name: one for one in WORKERS[name].HANDLERS}
    listed = catalogue_of(examples / name).handlers
    assert listed is not None
    assert set(listed) == set(known)
    for handler, said in listed.items():
        assert said.task_queue == WORKERS[name].TASK_QUEUE
        assert said.input is not None
        assert set(said.input["required"]) == set(said.input["properties"])
        assert set(said.input["required"]) == set(known[handler].input_type.model_fields)


async def test_report_names_its_nights() -> None:
    period = {"since": "2026-05-08T20:00:00Z", "until": "2026-05-10T00:30:00Z", "nights": 2}
    report = await testing.invoke(nightly_report.write_report, period)
    title = "Sales of 2 nights, 2026-05-08 20:00:00 to 2026-05-10 00:30:00"
    assert report == {"title": title, "nights": 2}


async def test_step_hands_on_the_order() -> None:
    for step in (order_saga.reserve_stock, order_saga.charge_card, order_saga.ship_order):
        assert (await testing.invoke(step, ORDER))["order"] == "ORD-1"


@pytest.mark.parametrize(
    ("step", "change", "said"),
    [
        (order_saga.charge_card, {"amount": 1000.01}, "declined"),
        (order_saga.ship_order, {"article": "anvil"}, "does not take"),
    ],
)
async def test_step_that_cannot_be_done_fails_for_good(
    step: Handler[Any], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(PermanentError, match=said):
        await testing.invoke(step, ORDER | change)


async def test_alarm_says_until_when_the_sensor_was_to_be_heard() -> None:
    silence = {"sensor": "S-1", "expected_by": "2026-05-08T20:00:05Z"}
    assert await testing.invoke(sensor_alarm.sound_alarm, silence) == {
        "message": "sensor S-1 was not heard by 2026-05-08 20:00:05"
    }
