import json
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from cli import contract_asyncapi
from contracts import names
from contracts.names import EventType, Topic

PAYMENT = {
    "apiVersion": "backbone/v1",
    "kind": "EventType",
    "metadata": {"id": "billing.payment.received", "namespace": "dev", "owner": "billing"},
    "spec": {
        "schemas": [
            {
                "version": 1,
                "schema": {
                    "type": "object",
                    "properties": {"amount": {"type": "number"}},
                    "required": ["amount"],
                },
            }
        ]
    },
}
BILLING = {
    "apiVersion": "backbone/v1",
    "kind": "Producer",
    "metadata": {"id": "billing-service", "namespace": "dev", "owner": "billing"},
    "spec": {"sources": ["billing/*"], "types": ["billing.*"]},
}


class KnowsBilling(registry_pb2_grpc.RegistryServiceServicer):
    """Has an event type and a producer."""

    def ListResources(self, request: Any, context: Any) -> Any:
        held = {
            registry_pb2.RESOURCE_KIND_EVENT_TYPE: PAYMENT,
            registry_pb2.RESOURCE_KIND_PRODUCER: BILLING,
        }[request.kind]
        resource = registry_pb2.Resource(kind=request.kind, content=json.dumps(held).encode())
        return registry_pb2.ListResourcesResponse(resources=[resource])


@pytest.fixture
def registry(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry whose address is set."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    registry_pb2_grpc.add_RegistryServiceServicer_to_server(KnowsBilling(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("BACKBONE_REGISTRY_ADDRESS", f"127.0.0.1:{port}")
    yield
    server.stop(None).wait()


def event(**more: Any) -> dict[str, Any]:
    return {
        "event_id": "payment-1",
        "type": "billing.payment.received",
        "source": "billing/payments",
        "occurred_at": "2026-03-02T12:00:00Z",
        "payload": {"amount": 12.5},
        **more,
    }


def lines(*events: Any) -> str:
    return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in events)


# --- asyncapi ---


def test_asyncapi_is_printed_as_it_is_checked_in(backbone: Any, nowhere: Path) -> None:
    printed = backbone("contract", "asyncapi").stdout
    assert printed == contract_asyncapi.render(contract_asyncapi.document())
    assert yaml.safe_load(printed)["asyncapi"] == "3.0.0"
    assert json.loads(backbone("contract", "asyncapi", "-o", "json").stdout) == yaml.safe_load(
        printed
    )


# --- examples ---


@pytest.mark.parametrize(
    "name", ["task-events", "backbone.task-events", "stage.backbone.task-events"]
)
def test_examples_of_a_topic_are_json_lines(backbone: Any, nowhere: Path, name: str) -> None:
    result = backbone("-n", "stage", "contract", "examples", name)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    types = [one for one in EventType if names.TOPIC_OF[one] is Topic.TASK_EVENTS]
    assert [one["value"]["type"] for one in found] == [t for t in types for _ in range(5)]
    assert {one["topic"] for one in found} == {"stage.backbone.task-events"}
    assert {one["value"]["namespace"] for one in found} == {"stage"}


def test_examples_are_written_to_files(backbone: Any, nowhere: Path) -> None:
    result = backbone("contract", "examples", "run-events", "-d", "made/here")
    assert result.exit_code == 0
    assert "50 examples are in made/here" in result.stderr
    files = sorted((nowhere / "made" / "here").iterdir())
    assert len(files) == 50
    written = json.loads((nowhere / "made/here/backbone.RunDecided-full.json").read_text())
    assert written["value"]["payload"]["human_tasks"] == 1


def test_unknown_topic_names_those_there_are(backbone: Any, nowhere: Path) -> None:
    result = backbone("contract", "examples", "tasks")
    assert result.exit_code == 2
    assert "tasks is no topic of Backbone's" in result.stderr
    assert "backbone.task-events" in result.stderr


# --- a consumer ---


def consumer(folder: Path, body: str) -> list[str]:
    """Write a consumer in Python; return the command that runs it."""
    path = folder / "consumer.py"
    path.write_text(f"import json, os, sys, time\nraw = sys.stdin.buffer.read()\n{body}\n")
    return [sys.executable, "-S", str(path)]


def outcomes(result: Any) -> dict[str, dict[str, Any]]:
    return {one["example"]: one for one in map(json.loads, result.stdout.splitlines())}


def test_consumer_that_takes_everything_keeps_the_contract(backbone: Any, nowhere: Path) -> None:
    command = consumer(
        nowhere,
        """
event = json.loads(raw)
assert event["type"] == os.environ["RECORD_HEADER_BACKBONE_EVENT_TYPE"]
assert event["event_id"] == os.environ["RECORD_HEADER_BACKBONE_EVENT_ID"]
if event["type"].startswith(("backbone.Run", "backbone.Failure")):
    assert event["payload"]["run_id"] == os.environ["RECORD_KEY"]
assert os.environ["RECORD_TOPIC"] == "dev.backbone.run-events"
""",
    )
    result = backbone("contract", "verify", "consumer", "run-events", "-o", "json", "--", *command)
    assert result.exit_code == 0, result.stderr
    found = outcomes(result)
    assert {one["result"] for name, one in found.items() if "garbage" not in name} == {"accepted"}
    assert found["garbage: cut"]["result"] == "refused"
    assert "all 56 examples of backbone.run-events were taken" in result.stderr


def test_consumer_that_refuses_a_field_of_a_later_release_fails(
    backbone: Any, nowhere: Path
) -> None:
    body = 'event = json.loads(raw)\nassert "added_later" not in event, "what is that?"'
    command = consumer(nowhere, body)
    result = backbone("contract", "verify", "consumer", "run-events", "-o", "json", "--", *command)
    assert result.exit_code == 1
    failed = {name for name, one in outcomes(result).items() if one["result"] == "failed"}
    assert failed == {
        f"{kind}: of a later release"
        for kind in EventType
        if names.TOPIC_OF[kind] is Topic.RUN_EVENTS
    }
    assert "what is that?" in outcomes(result)[min(failed)]["detail"]
    assert "10 of 56 examples of backbone.run-events were not taken" in result.stderr


def test_consumer_that_hangs_on_garbage_fails_and_is_ended_with_its_children(
    backbone: Any, nowhere: Path
) -> None:
    pid = nowhere / "pid"
    command = [
        "/bin/sh",
        "-c",
        f'if [ -z "$RECORD_HEADER_BACKBONE_EVENT_ID" ]; then sleep 600 & echo $! > {pid}; wait; fi',
    ]
    result = backbone(
        *("contract", "verify", "consumer", "run-events", "--timeout", "0.5", "-o", "json"),
        *("--", *command),
    )
    assert result.exit_code == 1
    found = outcomes(result)
    assert found["garbage: empty"]["detail"] == "it did not end within 0.5 s"
    assert found["backbone.RunDecided: full"]["result"] == "accepted"
    deadline = time.monotonic() + 10
    while _runs(int(pid.read_text())):
        assert time.monotonic() < deadline, "what the consumer started still runs"
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_consumer_that_crashes_on_garbage_fails(backbone: Any, nowhere: Path) -> None:
    command = ["/bin/sh", "-c", '[ -n "$RECORD_HEADER_BACKBONE_EVENT_ID" ] || kill -SEGV $$']
    result = backbone("contract", "verify", "consumer", "run-events", "-o", "json", "--", *command)
    assert result.exit_code == 1
    assert "ended by SIGSEGV" in outcomes(result)["garbage: empty"]["detail"]


def test_consumer_that_does_not_read_is_not_waited_for(backbone: Any, nowhere: Path) -> None:
    result = backbone("contract", "verify", "consumer", "dead-letters", "--", "true")
    assert result.exit_code == 0, result.stderr


def test_consumer_that_cannot_be_started_is_misuse(backbone: Any, nowhere: Path) -> None:
    result = backbone("contract", "verify", "consumer", "run-events", "--", "./absent")
    assert result.exit_code == 2
    assert "./absent cannot be started: No such file or directory" in result.stderr


# --- a producer ---


def checked(backbone: Any, *words: str, stdin: str) -> tuple[int, list[dict[str, Any]], str]:
    result = backbone(
        "contract", "verify", "producer", "--samples", "-", "-o", "json", *words, stdin=stdin
    )
    return (
        result.exit_code,
        [json.loads(line) for line in result.stdout.splitlines()],
        result.stderr,
    )


def test_records_that_keep_to_the_contract_pass(backbone: Any, registry: None) -> None:
    code, problems, said = checked(backbone, stdin=lines(event(), "", event(event_id="2"), event()))
    assert (code, problems) == (0, [])
    assert "all 3 records keep to the contract" in said


@pytest.mark.parametrize(
    ("record", "reason", "message"),
    [
        ("{", "malformed_json", "it is no envelope"),
        (event(occurred_at="2026-03-02T12:00:00"), "naive_time", "occurred_at"),
        (event(namespace="prod"), "wrong_namespace", "namespace is prod, not dev"),
        (event(type="billing.refund"), "unknown_type", "billing.refund is no registered event"),
        (event(schema_version=2), "unknown_schema_version", "schema version 2; it has 1"),
        (event(payload={"amount": "12"}), "payload", "does not fit version 1"),
        (event(payload={}), "payload", "amount"),
        (event(source="crm"), "not_permitted", "may emit billing.payment.received from crm"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_record_that_breaks_the_contract_is_named_with_its_reason(
    backbone: Any, registry: None, record: Any, reason: str, message: str
) -> None:
    code, problems, said = checked(backbone, stdin=lines(event(event_id="0"), record))
    assert code == 1
    (problem,) = problems
    assert (problem["record"], problem["reason"]) == ("line 2", reason)
    assert message in problem["message"]
    assert "1 of 2 records do not keep to the contract" in said


def test_backbones_own_types_are_reserved(backbone: Any, nowhere: Path) -> None:
    code, problems, _ = checked(backbone, stdin=lines(event(type="backbone.RunDecided")))
    assert (code, [one["reason"] for one in problems]) == (1, ["reserved_type"])


def test_same_id_with_other_bytes_is_a_conflict(backbone: Any, nowhere: Path) -> None:
    code, problems, _ = checked(
        backbone, stdin=lines(event(), event(payload={"amount": 13}), event(source="other"))
    )
    assert code == 1
    assert [(one["record"], one["reason"]) for one in problems] == [("line 2", "id_conflict")]


def test_without_a_registry_the_envelope_alone_is_checked_and_that_is_said(
    backbone: Any, nowhere: Path
) -> None:
    code, problems, said = checked(backbone, stdin=lines(event(source="crm", type="any.thing")))
    assert (code, problems) == (0, [])
    assert "no registry was asked" in said


def test_offline_asks_no_registry(backbone: Any, registry: None) -> None:
    code, problems, _ = checked(backbone, "--offline", stdin=lines(event(source="crm")))
    assert (code, problems) == (0, [])


def test_no_record_at_all_is_a_failure(backbone: Any, nowhere: Path) -> None:
    code, _, said = checked(backbone, stdin="\n")
    assert code == 1
    assert "there was no record to check" in said


@pytest.mark.parametrize("words", [(), ("--samples", "-", "--topic", "dev.events")])
def test_samples_or_topic_are_asked_for(backbone: Any, nowhere: Path, words: Any) -> None:
    result = backbone("contract", "verify", "producer", *words)
    assert result.exit_code == 2
    assert "either --samples FILE or --topic TOPIC" in result.stderr


@pytest.mark.parametrize("topic", [topic for topic in Topic if topic is not Topic.DEAD_LETTERS])
def test_examples_of_backbones_own_topics_are_sound_envelopes(
    backbone: Any, nowhere: Path, topic: Topic
) -> None:
    examples = backbone("contract", "examples", topic.value).stdout.splitlines()
    values = [json.dumps(json.loads(line)["value"]) for line in examples]
    _, problems, _ = checked(backbone, stdin="\n".join(values))
    # Nobody else may publish them: that is all there is to say against them.
    assert {one["reason"] for one in problems} == {"reserved_type"}
