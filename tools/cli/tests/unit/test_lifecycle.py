import json
from pathlib import Path
from typing import Any

import pytest

from backbone.registry.v1 import registry_pb2


@pytest.fixture
def kept(backbone: Any, stack: Path, services: Any, document: Any) -> Any:
    """Two versions of x.y, which uses crm.changed."""
    backbone("apply", "-f", "-", stdin=document("crm.changed", kind="EventType"))
    for rules in (1, 2):
        backbone("apply", "-f", "-", stdin=document("x.y", rules=rules, uses=["crm.changed"]))
    return services.registry


def told(result: Any) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_disable_and_enable_print_the_state(backbone: Any, kept: Any) -> None:
    disabled = told(backbone("disable", "x.y", "--reason", "too loud", "-o", "json"))
    assert (disabled["state"], disabled["changed"]) == ("disabled", True)
    assert disabled["latest"]["reason"] == "too loud"
    assert "content" not in disabled
    enabled = backbone("enable", "x.y", "--reason", "quiet now")
    assert ["state", "active"] in [line.split() for line in enabled.stdout.splitlines()]


def test_enable_says_what_becomes_of_held_events(backbone: Any, kept: Any) -> None:
    backbone("disable", "x.y", "--reason", "too loud")
    told(backbone("enable", "x.y", "--reason", "mended", "--held", "compress", "-o", "json"))
    assert kept.held == [registry_pb2.HELD_EVENTS_COMPRESS]
    unknown = backbone("enable", "x.y", "--reason", "mended", "--held", "eat")
    assert unknown.exit_code == 2


def test_change_that_was_made_already_says_so(backbone: Any, kept: Any) -> None:
    backbone("disable", "x.y", "--reason", "once")
    result = backbone("disable", "x.y", "--reason", "twice")
    assert result.exit_code == 0
    assert result.stderr == "it was so already\n"
    assert kept.head("x.y") is not None
    assert [change.reason for _, change in kept.changes][-1] == "once"


def test_same_request_again_is_one_request(backbone: Any, kept: Any) -> None:
    words = ("disable", "x.y", "--reason", "once", "--request-id", "r-1", "-o", "json")
    assert told(backbone(*words)) == told(backbone(*words))
    other = backbone("disable", "x.y", "--reason", "other", "--request-id", "r-1")
    assert other.exit_code == 1
    assert "choose a new one" in other.stderr


def test_activate_goes_back_to_an_earlier_version(backbone: Any, kept: Any) -> None:
    result = told(backbone("activate", "x.y", "--version", "1", "--reason", "worse", "-o", "json"))
    assert (result["version"], result["current_version"]) == (1, 1)
    assert told(backbone("get", "x.y", "-o", "json"))["content"]["spec"] == {"rules": 1}


def test_activate_of_what_can_no_longer_run_tells_why(
    backbone: Any, kept: Any, document: Any
) -> None:
    kept.put(json.loads(document("old.one", broken=1)))
    kept.put(json.loads(document("old.one")))
    result = backbone("activate", "old.one", "--version", "1", "--reason", "back")
    assert result.exit_code == 1
    assert result.stdout == "old.one: it cannot run now\n"
    assert "nothing changed" in result.stderr


def test_retire_takes_it_out_of_use(backbone: Any, kept: Any) -> None:
    assert told(backbone("retire", "x.y", "--reason", "unused", "-o", "json"))["state"] == "retired"
    assert backbone("get", "-o", "json").stdout == ""


def test_retire_of_what_others_need_names_all_of_them(
    backbone: Any, kept: Any, document: Any
) -> None:
    kept.put(json.loads(document("z.too", uses=["crm.changed"])))
    words = ("retire", "crm.changed", "--kind", "event-type", "--reason", "unused")
    result = backbone(*words)
    assert result.exit_code == 1
    assert result.stderr == (
        "backbone: 'crm.changed' is still needed by x.y: change or retire them first "
        "(also: z.too)\n"
    )
    for name in ("x.y", "z.too"):
        backbone("retire", name, "--reason", "unused")
    assert backbone(*words).exit_code == 0


def test_enable_of_what_is_retired_says_what_to_do(backbone: Any, kept: Any) -> None:
    backbone("retire", "x.y", "--reason", "unused")
    result = backbone("enable", "x.y", "--reason", "again")
    assert result.stderr == "backbone: 'x.y' is retired: apply it to bring it back\n"


def test_change_of_what_was_changed_meanwhile_is_refused(backbone: Any, kept: Any) -> None:
    etag = told(backbone("get", "x.y", "-o", "json"))["etag"]
    backbone("disable", "x.y", "--reason", "somebody else")
    result = backbone("retire", "x.y", "--reason", "unused", "--etag", etag)
    assert result.exit_code == 1
    assert "get it again and change that" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("activate", "x.y", "--version", "1"),
        ("activate", "x.y", "--reason", "why"),
        ("disable", "x.y"),
        ("enable", "x.y"),
        ("retire", "x.y"),
    ],
)
def test_reason_and_version_are_required(backbone: Any, kept: Any, words: tuple[str, ...]) -> None:
    changes = len(kept.changes)
    assert backbone(*words).exit_code == 2
    assert len(kept.changes) == changes


def test_change_of_what_is_unknown_says_so(backbone: Any, stack: Path) -> None:
    result = backbone("disable", "no.such", "--reason", "why")
    assert (result.exit_code, result.stderr) == (1, "backbone: there is no 'no.such' in 'dev'\n")
