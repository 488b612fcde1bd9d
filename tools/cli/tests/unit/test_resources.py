import json
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture
def kept(backbone: Any, folder: Path, services: Any, document: Any) -> Any:
    """Two versions of a.first, a retired b.second, an event type and a producer."""
    (folder / "type.yaml").write_text(
        document(
            "crm.customer.changed",
            kind="EventType",
            compatibility="full",
            schemas=[{"version": 1}, {"version": 2}],
        )
    )
    (folder / "producer.yaml").write_text(
        document("crm", kind="Producer", sources=["crm/*"], types=["crm.*"])
    )
    assert backbone("apply", "-f", str(folder), "--reason", "first").exit_code == 0
    changed = document("a.first", triggers=[{"name": "hourly"}, {"name": "paid"}])
    assert backbone("apply", "-f", "-", "--reason", "second", stdin=changed).exit_code == 0
    backbone("retire", "b.second", "--reason", "unused")
    return services.registry


def listed(result: Any) -> list[str]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line)["resource_id"] for line in result.stdout.splitlines()]


def test_get_lists_every_page_of_what_is_in_use(backbone: Any, kept: Any) -> None:
    assert listed(backbone("get", "-o", "json")) == ["a.first", "c.third"]
    assert listed(backbone("get", "--retired", "-o", "json")) == ["a.first", "b.second", "c.third"]


def test_get_lists_what_a_team_owns(backbone: Any, kept: Any) -> None:
    assert listed(backbone("get", "--retired", "--owner", "you", "-o", "json")) == ["b.second"]


def test_list_shows_state_version_owner_and_triggers(backbone: Any, kept: Any) -> None:
    heading, first, _ = backbone("get").stdout.splitlines()
    assert heading.split() == ["ID", "VERSION", "STATE", "OWNER", "TRIGGERS", "CHANGED", "BY"]
    assert first.split()[:6] == ["a.first", "2", "active", "me", "hourly,", "paid"]


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("event-type", ["crm.customer.changed", "1", "active", "me", "1,", "2", "full"]),
        ("producer", ["crm", "1", "active", "me", "crm/*", "crm.*"]),
    ],
)
def test_other_kinds_are_listed_with_what_matters_of_them(
    backbone: Any, kept: Any, kind: str, shown: list[str]
) -> None:
    _, row = backbone("get", "--kind", kind).stdout.splitlines()
    assert row.split()[: len(shown)] == shown


def test_list_as_of_a_time_shows_what_was_then(backbone: Any, kept: Any) -> None:
    # Each change is a second after the one before, the first at 12:00:01.
    assert listed(backbone("get", "--as-of", "2026-03-02T12:00:02Z", "-o", "json")) == [
        "a.first",
        "b.second",
    ]
    assert listed(backbone("get", "--as-of", "2026-03-02T13:00:00+01:00", "-o", "json")) == []


def test_get_shows_an_earlier_version_and_a_past_one(backbone: Any, kept: Any) -> None:
    by_number = json.loads(backbone("get", "a.first", "--version", "1", "-o", "json").stdout)
    by_time = json.loads(
        backbone("get", "a.first", "--as-of", "2026-03-02T12:00:01Z", "-o", "json").stdout
    )
    assert by_number["version"] == by_time["version"] == 1
    assert by_number["content"] == by_time["content"]
    assert (by_number["current_version"], by_number["applied"]["reason"]) == (2, "first")


def test_get_as_yaml_is_what_apply_reads(backbone: Any, kept: Any) -> None:
    result = backbone("get", "a.first", "-o", "yaml")
    assert yaml.safe_load(result.stdout)["spec"]["triggers"][1] == {"name": "paid"}
    planned = backbone("plan", "--exit-code", "-f", "-", stdin=result.stdout)
    assert planned.exit_code == 0
    assert "unchanged  definition a.first" in planned.stdout


def test_get_tells_what_happened_to_it(
    backbone: Any, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    backbone("disable", "a.first", "--reason", "too loud")
    lines = backbone("get", "a.first", "--version", "1").stdout.splitlines()
    fields = dict(line.split("  ", 1) for line in lines[: lines.index("")])
    told = {name: value.strip() for name, value in fields.items()}
    assert told["state"] == "disabled"
    assert (told["version"], told["current version"]) == ("1", "2")
    assert told["last change"] == "disabled 2026-03-02T12:00:08Z by ada: too loud"
    assert told["applied"].startswith("2026-03-02T12:00:01Z by ")
    assert "current version" not in backbone("get", "a.first").stdout


def test_json_has_the_names_that_scripts_rely_on(backbone: Any, kept: Any) -> None:
    found = json.loads(backbone("get", "crm", "-k", "producer", "-o", "json").stdout)
    assert set(found) == {
        "namespace",
        "kind",
        "resource_id",
        "version",
        "current_version",
        "state",
        "etag",
        "content_sha256",
        "applied",
        "latest",
        "content",
    }
    assert set(found["latest"]) == {
        "change",
        "version",
        "state",
        "revision",
        "at",
        "actor",
        "reason",
    }
    assert found["kind"] == "producer"


def test_get_of_what_is_unknown_says_so(backbone: Any, stack: Path) -> None:
    result = backbone("get", "no.such")
    assert result.exit_code == 1
    assert result.stderr == "backbone: there is no 'no.such' in 'dev'\n"


def test_get_of_an_empty_namespace_says_so(backbone: Any, stack: Path) -> None:
    result = backbone("get", "-k", "event-type")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no event types in namespace dev\n"


@pytest.mark.parametrize(
    "words",
    [
        ("--version", "1"),
        ("a.first", "--version", "1", "--as-of", "2026-03-02T12:00:00Z"),
        ("--as-of", "2026-03-02T12:00:00"),
        ("--as-of", "yesterday"),
        ("a.first", "--retired"),
        ("-o", "yaml"),
        ("-k", "something"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    backbone: Any, stack: Path, words: tuple[str, ...]
) -> None:
    result = backbone("get", *words)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
