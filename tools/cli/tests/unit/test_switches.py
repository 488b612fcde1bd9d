"""`switches`: what is thrown, where, and what is reset."""

import json
from typing import Any

import pytest

RUN, EFFECT = 2, 3
WHY = ("--reason", "an incident")


@pytest.fixture
def switches(services: Any, stack: Any) -> Any:
    assert stack
    return services.switches


def thrown(switches: Any) -> list[tuple[str, int, dict[str, str]]]:
    return [(one.namespace, one.point, dict(one.labels)) for one in switches.switches]


def test_a_namespace_or_its_definitions_with_labels_are_stopped(
    backbone: Any, switches: Any
) -> None:
    assert backbone("switches", "throw", "--at", "run", *WHY).exit_code == 0
    labels = ("--label", "team=payments", "--label", "risk=a=b")
    shown = backbone("switches", "throw", "--at", "effect", *labels, *WHY, "-o", "json")
    assert thrown(switches) == [
        ("dev", RUN, {}),
        ("dev", EFFECT, {"team": "payments", "risk": "a=b"}),
    ]
    one = json.loads(shown.stdout)
    assert (one["switch_id"], one["point"], one["definitions"]) == ("s-2", "effect", 2)
    assert (one["thrown_by"], one["reason"], one["reset_at"]) == ("local/ann", "an incident", None)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("throw", *WHY), "--at"),
        (("throw", "--at", "run"), "--reason"),
        (("throw", "--at", "everything", *WHY), "everything"),
        (("throw", "--at", "ingress", "--label", "a=b", *WHY), "it takes no labels"),
        (("throw", "--at", "run", "--label", "team", *WHY), "NAME=VALUE"),
        (("throw", "--at", "run", "--label", f"a={'b' * 64}", *WHY), "at most 63"),
        (("reset", *WHY), "either a SWITCH or --at POINT"),
        (("reset", "s-1", "--at", "run", *WHY), "either a SWITCH or --at POINT"),
        (("reset", "s-1", "--all-namespaces", *WHY), "go with --at"),
        (("reset", "--at", "run", "--request-id", "r", *WHY), "goes with a SWITCH"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    backbone: Any, switches: Any, words: tuple[str, ...], told: str
) -> None:
    refused = backbone("switches", *words)
    assert refused.exit_code == 2
    assert told in refused.stderr
    assert switches.switches == []


def test_one_is_reset_by_its_id_and_those_of_a_point_by_their_labels(
    backbone: Any, switches: Any
) -> None:
    for words in (("run",), ("run", "--label", "a=b"), ("effect",)):
        backbone("switches", "throw", "--at", *words, *WHY)
    done = backbone("switches", "reset", "s-3", "--reason", "over", "-o", "json")
    assert json.loads(done.stdout)["reset_reason"] == "over"
    backbone("switches", "reset", "--at", "run", "--label", "a=b", "--reason", "over")
    left = backbone("switches", "list", "-o", "json").stdout.splitlines()
    assert [json.loads(line)["switch_id"] for line in left] == ["s-1"]
    assert len(backbone("switches", "list", "--all", "-o", "json").stdout.splitlines()) == 3
    again = backbone("switches", "reset", "--at", "run", "--label", "a=b", "--reason", "over")
    assert "no such kill switch is thrown" in again.stderr + again.stdout


def test_all_namespaces_are_stopped_at_once(backbone: Any, switches: Any) -> None:
    assert backbone("switches", "throw", "--at", "run", "--all-namespaces", *WHY).exit_code == 0
    assert thrown(switches) == [("dev", RUN, {}), ("prod", RUN, {})]
    listed = backbone("switches", "list", "--all-namespaces", "-o", "json").stdout.splitlines()
    assert [json.loads(line)["namespace"] for line in listed] == ["dev", "prod"]
    backbone("switches", "reset", "--at", "run", "--all-namespaces", "--reason", "over")
    assert all(one.HasField("reset_at") for one in switches.switches)
