"""What was released still holds: schemas stay compatible, protos break nobody.

Who writes and who reads decides what compatible means:

- Documents of people (definitions, event types, producers, the catalogue) are written for one
  release and read by every later one: what was valid stays valid (backward). No older release reads
  what is written for a newer one.
- Envelopes, events and everything else that machines exchange are read both ways. Consumers update
  when they like, so the older readers must take what the newer release emits (forward); and what
  was emitted stays: in the event store, in topics, in Temporal histories, and in the hands of
  workers of an older build while a release rolls out (backward).
"""

import json
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import jsonschema_rs
import pytest

from contracts import canonical, compatibility, jsonschemas
from contracts.compatibility import Break
from contracts.decisions import Decision, HumanInstance
from contracts.definitions import Assignees
from contracts.eventtypes import Compatibility

ROOT = Path(__file__).parents[2]
RELEASED = Path(__file__).parent / "released"
SCHEMAS = RELEASED / "schemas"
BUF = Path(sys.executable).parent / "buf"
WRITTEN_BY_PEOPLE = {"definition", "event-type", "producer", "resource", "catalogue"}
NAMES = sorted(
    path.relative_to(SCHEMAS).as_posix().removesuffix(".schema.json")
    for path in SCHEMAS.rglob("*.schema.json")
)


# No older ledger reads the reminders, escalation and expiry of a human task, and none is given any:
# only a definition that has them gets them into its decisions, and the registry before refuses it.
TIMERS = {"properties.tasks.items"}
# No older worker or ledger reads the trigger of a batch, and none is given one: only a definition
# that gathers or holds events has such runs, and the registry before refuses these.
# Nor that of a replay of events, or of a run that is decided again: only who asks for one gets it.
# Nor that of a timer, which only the instances of a definition with timers have.
# Nor that of a backfill, which only who applies one gets.
# Nor the chain of a start by a task: only a definition whose task starts another has such runs.
ASKED_FOR = {
    *("backfill_id", "batch_id", "chain", "events", "kind", "replay_id", "retry_of", "timer"),
}
# Nor what became of an instance's state: only the runs of a stateful definition have it.
STATE = {"properties.state"}
NEW_BY_REQUEST = {
    "decision": TIMERS | STATE,
    "trigger": {f"properties.{field}" for field in ASKED_FOR},
    "run-input": {f"properties.trigger.properties.{field}" for field in ASKED_FOR},
}
"""What older readers would not take, and do not get unless somebody asks for what is new."""


def promised(name):
    return Compatibility.BACKWARD if name in WRITTEN_BY_PEOPLE else Compatibility.FULL


def broken(name, current=jsonschemas.DIRECTORY):
    """Return what breaks the promise that a released schema is."""
    path = current / f"{name}.schema.json"
    if not path.exists():
        return [Break("", "it is gone")]
    released = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    return compatibility.breaks(released, json.loads(path.read_text()), promised(name))


@pytest.mark.parametrize("name", NAMES)
def test_released_schema_is_still_there_and_compatible(name):
    assert {one.path for one in broken(name)} == NEW_BY_REQUEST.get(name, set())


def test_decision_without_what_is_new_is_one_that_older_ledgers_read():
    task = HumanInstance(
        task_id=UUID(int=1),
        rule="call",
        key="",
        title="Call",
        input={},
        assignees=Assignees(users=["ana"]),
        due=timedelta(days=2),
    )
    decision = Decision(
        definition_id="billing", definition_version=1, snapshot_sha256="00", tasks=[task], rules=[]
    )
    released = json.loads((SCHEMAS / "decision.schema.json").read_text())
    validator = jsonschema_rs.validator_for(released)
    validator.validate(json.loads(canonical.render(decision)))
    timed = decision.model_copy(
        update={"tasks": [task.model_copy(update={"expiry": timedelta(days=9)})]}
    )
    assert not validator.is_valid(json.loads(canonical.render(timed)))


def test_released_set_holds_every_kind_of_contract():
    assert WRITTEN_BY_PEOPLE | {"envelope", "trigger", "task-call"} <= set(NAMES)
    assert any(name.startswith("events/") for name in NAMES)


@pytest.fixture
def copy(tmp_path):
    """The schemas of the last release, as the ones that are published now."""
    current = tmp_path / "schemas"
    shutil.copytree(SCHEMAS, current)
    return current


def planted(current, name, change):
    """Change a schema, or a part that it defines, and return what is broken."""
    path = current / f"{name}.schema.json"
    schema = json.loads(path.read_text())
    change(schema)
    path.write_text(json.dumps(schema))
    return [(one.path, one.message) for one in broken(name, current)]


def test_what_was_released_keeps_its_own_promise(copy):
    assert {name: broken(name, copy) for name in NAMES} == {name: [] for name in NAMES}


def test_schema_that_is_gone_fails(copy):
    (copy / "events" / "backbone.RunDecided.schema.json").unlink()
    assert broken("events/backbone.RunDecided", copy) == [Break("", "it is gone")]


def test_definition_that_was_valid_and_no_longer_is_fails(copy):
    def need(schema):
        schema["$defs"]["Metadata"]["required"].append("labels")

    name, key = "definition", "Metadata"
    schema = json.loads((copy / f"{name}.schema.json").read_text())
    assert key in schema["$defs"]
    assert planted(copy, name, need) == [
        (
            "properties.metadata.properties.labels",
            "labels became required; payloads of the older version may lack it",
        )
    ]


def test_further_optional_field_of_a_definition_passes(copy):
    def add(schema):
        schema["$defs"]["Metadata"]["properties"]["more"] = {"type": "string"}

    assert planted(copy, "definition", add) == []


def test_event_without_a_field_that_older_readers_need_fails(copy):
    def drop(schema):
        del schema["properties"]["run_id"]
        schema["required"].remove("run_id")

    assert planted(copy, "events/backbone.RunCompleted", drop) == [
        (
            "properties.run_id",
            "run_id is no longer required; payloads of the newer version may lack it",
        )
    ]


def test_event_with_a_further_required_field_fails(copy):
    def need(schema):
        schema["properties"]["cost"] = {"type": "number"}
        schema["required"].append("cost")

    # Those in the event store have none.
    assert planted(copy, "events/backbone.RunCompleted", need) == [
        ("properties.cost", "cost became required; payloads of the older version may lack it")
    ]


def test_event_with_a_further_optional_field_passes(copy):
    def add(schema):
        schema["properties"]["cost"] = {"type": "number"}

    assert planted(copy, "events/backbone.RunCompleted", add) == []


def test_envelope_of_a_narrower_time_fails(copy):
    def narrow(schema):
        schema["properties"]["schema_version"]["maximum"] = 99

    ((path, message),) = planted(copy, "envelope", narrow)
    assert path == "properties.schema_version"
    assert "the maximum changed from 2147483647 to 99" in message


def test_new_version_beside_the_old_one_passes(copy):
    name = "events/backbone.RunCompleted"
    text = (copy / f"{name}.schema.json").read_text()
    (copy / f"{name}.v2.schema.json").write_text(text.replace('"run_id"', '"run"'))
    assert broken(name, copy) == []


def breaking(proto):
    return subprocess.run(
        [BUF, "breaking", "--against", RELEASED / "proto"],
        cwd=proto,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_protos_break_nobody_who_was_built_with_the_released_ones():
    result = breaking(ROOT / "proto")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  int64 revision = 1;\n", "", "was deleted"),
        ("string resource_id = 3;", "string id = 3;", "changed name"),
        ("string resource_id = 3;", "int64 resource_id = 3;", "changed type"),
        ("rpc GetDrift(GetDriftRequest) returns (GetDriftResponse);", "", "RPC"),
    ],
    ids=["field deleted", "field renamed", "type changed", "method deleted"],
)
def test_proto_that_breaks_somebody_fails(tmp_path, old, new, said):
    proto = tmp_path / "proto"
    shutil.copytree(RELEASED / "proto", proto)
    path = proto / "backbone" / "registry" / "v1" / "registry.proto"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    result = breaking(proto)
    assert result.returncode == 100, result.stderr
    assert said in result.stdout
