"""Publishes the JSON Schemas of the contract: `python -m contracts.jsonschemas` rewrites them."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from contracts.builtins import INPUT_OF
from contracts.catalogue import Catalogue
from contracts.decisions import Decision
from contracts.definitions import ActivityDefinition
from contracts.envelope import Envelope
from contracts.events import PAYLOAD_OF
from contracts.eventtypes import EventType
from contracts.kinds import ResourceDocument
from contracts.producers import Producer
from contracts.runs import RunInput, TaskCall, TaskReport
from contracts.scheduletests import ScheduleTest
from contracts.triggers import Trigger

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DIRECTORY = Path(__file__).parent / "schemas"


def published() -> dict[str, str]:
    """Return the text of each schema file by its name."""
    models: dict[str, type[BaseModel]] = {
        "resource": ResourceDocument,
        "definition": ActivityDefinition,
        "event-type": EventType,
        "producer": Producer,
        "schedule-test": ScheduleTest,
        "catalogue": Catalogue,
        "envelope": Envelope,
        "trigger": Trigger,
        "decision": Decision,
        "run-input": RunInput,
        "task-call": TaskCall,
        "task-report": TaskReport,
    }
    models |= {f"handlers/{built_in}": model for built_in, model in INPUT_OF.items()}
    models |= {f"events/{event_type}": model for event_type, model in PAYLOAD_OF.items()}
    return {f"{name}.schema.json": _text(name, model) for name, model in models.items()}


def _text(name: str, model: type[BaseModel]) -> str:
    document: dict[str, Any] = {"$schema": DIALECT, "$id": f"urn:backbone:v1:{name}"}
    document |= model.model_json_schema(by_alias=True)
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def write(directory: Path = DIRECTORY) -> None:
    """Write every schema below `directory` and remove schema files that are no longer published."""
    texts = published()
    for stale in directory.rglob("*.schema.json"):
        if stale.relative_to(directory).as_posix() not in texts:
            stale.unlink()
    for name, text in texts.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
