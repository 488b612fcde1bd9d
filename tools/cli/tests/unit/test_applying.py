import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest


def actions(result: Any) -> list[tuple[str, str]]:
    document = json.loads(result.stdout)
    return [(one["resource_id"], one["action"]) for one in document["results"]]


def test_apply_stores_every_document_of_a_folder(
    backbone: Any, folder: Path, services: Any
) -> None:
    result = backbone("apply", "-f", str(folder), "-o", "json")
    assert result.exit_code == 0
    assert actions(result) == [("a.first", "create"), ("b.second", "create"), ("c.third", "create")]
    assert json.loads(result.stdout)["applied"] is True
    assert services.registry.head("c.third").version == 1


def test_apply_sends_one_set_and_exactly_what_was_planned(
    backbone: Any, folder: Path, services: Any
) -> None:
    backbone("apply", "-f", str(folder), "--reason", "because")
    planned, applied = services.registry.applies
    assert (planned.validate_only, applied.validate_only) == (True, False)
    assert [one.name for one in applied.documents] == [
        str(folder / "a.yml"),
        str(folder / "b.json"),
        str(folder / "deeper" / "c.yaml"),
    ]
    assert applied.reason == "because"
    assert applied.request_id
    assert len(applied.plan_sha256) == 64


def test_apply_says_what_becomes_of_each_resource_and_why(
    backbone: Any, folder: Path, document: Any
) -> None:
    (folder / "a.yml").write_text(document("a.first", rules=["x"], every=10))
    backbone("apply", "-f", str(folder))
    (folder / "a.yml").write_text(document("a.first", context=["y"], rules=["z"], every=30))
    result = backbone("apply", "-f", str(folder))
    assert result.stdout.splitlines() == [
        f"update     definition a.first version 2  {folder / 'a.yml'}",
        "    + context is new",
        "    ~ every changes",
        "    ~ rules changes",
        "    next due times of often:",
        "      before  2026-03-02T12:10:00Z  2026-03-02T12:20:00Z",
        "      after   2026-03-02T12:30:00Z  2026-03-02T13:00:00Z",
        f"unchanged  definition b.second version 1  {folder / 'b.json'}",
        f"unchanged  definition c.third version 1  {folder / 'deeper' / 'c.yaml'}",
        "1 updated, 2 unchanged",
    ]


def test_apply_again_changes_nothing_and_asks_for_nothing(
    backbone: Any, folder: Path, services: Any
) -> None:
    backbone("apply", "-f", str(folder), "--request-id", "r-1")
    asked = len(services.registry.applies)
    result = backbone("apply", "-f", str(folder), "--request-id", "r-1")
    assert result.exit_code == 0
    assert result.stdout.endswith("3 unchanged\n")
    assert [one.validate_only for one in services.registry.applies[asked:]] == [True]


def test_apply_reads_standard_input(
    backbone: Any, stack: Path, services: Any, document: Any
) -> None:
    result = backbone("apply", "-f", "-", stdin=document("x.y"))
    assert result.exit_code == 0
    assert "create     definition x.y version 1  <stdin>" in result.stdout
    assert services.registry.head("x.y").latest.reason == "applied with the command line"


def test_apply_names_the_operating_system_user(
    backbone: Any, stack: Path, services: Any, document: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    backbone("apply", "-f", "-", stdin=document("x.y"))
    assert services.registry.head("x.y").latest.actor == "ada"


def test_one_bad_document_leaves_everything_as_it_was(
    backbone: Any, folder: Path, services: Any, document: Any
) -> None:
    (folder / "b.json").write_text(document("b.second", broken=2))
    (folder / "deeper" / "c.yaml").write_text(document("c.third", broken=1))
    result = backbone("apply", "-f", str(folder))
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{folder / 'b.json'}:9:3: spec.rules[0].when: it does not compile",
        f"{folder / 'b.json'}:9:3: spec.rules[1].when: it does not compile",
        "",
        f"{folder / 'deeper' / 'c.yaml'}:9:3: spec.rules[0].when: it does not compile",
    ]
    assert result.stderr == "backbone: 3 problems in 2 documents; nothing was applied\n"
    assert services.registry.versions == {}


def test_apply_gives_problems_as_json(backbone: Any, stack: Path, document: Any) -> None:
    result = backbone("-o", "json", "apply", "-f", "-", stdin=document("x.y", broken=1))
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["applied"] is False
    assert told["problems"] == [
        {
            "document": "<stdin>",
            "path": "spec.rules[0].when",
            "line": 9,
            "column": 3,
            "message": "it does not compile",
        }
    ]


def test_change_between_plan_and_apply_is_told_and_nothing_is_applied(
    backbone: Any, folder: Path, services: Any, document: Any
) -> None:
    registry = services.registry
    registry.between = lambda: registry.put(json.loads(document("a.first", other=1)))
    result = backbone("apply", "-f", str(folder))
    assert result.exit_code == 1
    assert "plan again and look at what it says now" in result.stderr
    assert "retry" not in result.stderr
    assert registry.head("c.third") is None


def test_all_problems_are_told_when_they_come_after_the_plan(
    backbone: Any, stack: Path, services: Any, document: Any
) -> None:
    registry = services.registry
    registry.between = lambda: setattr(registry, "spoiled", 30)
    result = backbone("apply", "-f", "-", stdin=document("x.y"))
    assert result.exit_code == 1
    assert result.stdout.count("its event type is gone") == 30
    assert result.stderr == "backbone: 30 problems in 1 document; nothing was applied\n"


def test_plan_stores_nothing_and_names_itself(backbone: Any, folder: Path, services: Any) -> None:
    result = backbone("plan", "-f", str(folder))
    assert result.exit_code == 0
    assert result.stdout.endswith("3 to create\n")
    assert services.registry.versions == {}
    (planned,) = services.registry.applies
    assert planned.validate_only
    again = backbone("apply", "--dry-run", "-f", str(folder))
    assert (again.stdout, again.stderr) == (result.stdout, result.stderr)


def test_plan_that_was_looked_at_is_what_is_applied(
    backbone: Any, folder: Path, services: Any, document: Any
) -> None:
    plan = json.loads(backbone("plan", "-f", str(folder), "-o", "json").stdout)
    assert plan["applied"] is False
    services.registry.put(json.loads(document("b.second", other=1)))
    stale = backbone("apply", "-f", str(folder), "--plan", plan["plan_sha256"])
    assert stale.exit_code == 1
    assert "not what was planned then" in stale.stderr
    assert services.registry.head("a.first") is None
    plan = json.loads(backbone("plan", "-f", str(folder), "-o", "json").stdout)
    applied = backbone("apply", "-f", str(folder), "--plan", plan["plan_sha256"])
    assert applied.exit_code == 0
    # A pipeline that runs twice finds its work done.
    assert backbone("apply", "-f", str(folder), "--plan", plan["plan_sha256"]).exit_code == 0


@pytest.mark.parametrize("words", [("plan",), ("apply", "--dry-run")])
def test_exit_code_tells_pipelines_whether_something_would_change(
    backbone: Any, folder: Path, words: tuple[str, ...]
) -> None:
    assert backbone(*words, "--exit-code", "-f", str(folder)).exit_code == 2
    assert backbone(*words, "-f", str(folder)).exit_code == 0
    backbone("apply", "-f", str(folder))
    assert backbone(*words, "--exit-code", "-f", str(folder)).exit_code == 0


def test_exit_code_2_says_nothing_else(backbone: Any, folder: Path, document: Any) -> None:
    assert backbone("plan", "--exit-code", "-f", "absent.yaml").exit_code == 1
    assert backbone("plan", "-f", "absent.yaml").exit_code == 2
    (folder / "a.yml").write_text(document("a.first", broken=1))
    assert backbone("plan", "--exit-code", "-f", str(folder)).exit_code == 1


def test_exit_code_without_a_dry_run_is_refused(backbone: Any, folder: Path, services: Any) -> None:
    assert backbone("apply", "--exit-code", "-f", str(folder)).exit_code == 2
    assert services.registry.applies == []


def test_prune_says_what_it_retires_and_retires_it(
    backbone: Any, folder: Path, services: Any
) -> None:
    backbone("apply", "-f", str(folder))
    (folder / "b.json").unlink()
    (folder / "deeper" / "c.yaml").unlink()
    result = backbone("apply", "-f", str(folder), "--prune", "-n", "dev", "--owner", "you")
    assert result.exit_code == 0
    assert "prune      definition b.second\n" in result.stdout
    assert result.stdout.endswith("1 retired, 1 unchanged\n")
    states = backbone("get", "--retired", "-o", "json").stdout.splitlines()
    assert [(json.loads(s)["resource_id"], json.loads(s)["state"]) for s in states] == [
        ("a.first", "active"),
        ("b.second", "retired"),
        ("c.third", "active"),
    ]


def test_prune_takes_the_namespace_from_the_setting(
    backbone: Any, folder: Path, services: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKBONE_NAMESPACE", "dev")
    assert backbone("plan", "-f", str(folder), "--prune").exit_code == 0
    assert services.registry.applies[-1].namespace == "dev"


def test_prune_of_a_namespace_that_nobody_named_is_refused(
    backbone: Any, folder: Path, services: Any
) -> None:
    result = backbone("apply", "-f", str(folder), "--prune")
    assert result.exit_code == 2
    assert "--namespace" in result.stderr
    assert services.registry.applies == []


def test_what_was_retired_is_restored(backbone: Any, folder: Path) -> None:
    backbone("apply", "-f", str(folder))
    backbone("retire", "a.first", "--reason", "unused")
    result = backbone("apply", "-f", str(folder))
    assert "restore    definition a.first version 1" in result.stdout


def test_namespace_that_is_given_holds_for_the_documents(
    backbone: Any, folder: Path, services: Any
) -> None:
    result = backbone("apply", "-f", str(folder), "-n", "prod")
    assert result.exit_code == 1
    assert "it is dev, and the request is for prod" in result.stdout


def test_etag_that_is_no_longer_the_current_one_changes_nothing(
    backbone: Any, stack: Path, services: Any, document: Any
) -> None:
    services.registry.put(json.loads(document("x.y")))
    etag = json.loads(backbone("get", "x.y", "-o", "json").stdout)["etag"]
    changed = document("x.y", more=1)
    assert backbone("apply", "-f", "-", "--etag", "stale", stdin=changed).exit_code == 1
    result = backbone("apply", "-f", "-", "--etag", etag, stdin=changed)
    assert result.exit_code == 0
    again = backbone("apply", "-f", "-", "--etag", etag, stdin=document("x.y", more=2))
    assert again.stderr == (
        "backbone: 'x.y' is not what the etag was taken from: get it again and change that\n"
    )


@pytest.mark.parametrize(
    "words",
    [("--etag", "e"), ("--owner", "me")],
)
def test_options_that_do_not_fit_are_refused(
    backbone: Any, folder: Path, services: Any, words: tuple[str, ...]
) -> None:
    assert backbone("apply", "-f", str(folder), *words).exit_code == 2
    assert services.registry.applies == []


def at_a_terminal(folder: Path, address: str, *words: str, answer: bytes = b"") -> tuple[int, str]:
    """Run `apply --prune` with a terminal; answer its question."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "apply", "-f", str(folder), "--prune", "-n", "dev", *words],
        env=os.environ | {"BACKBONE_REGISTRY_ADDRESS": address},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 1.0)[0]:
                continue
            try:
                piece = os.read(ours, 4096)
            except OSError:  # how Linux says that the other side is closed
                break
            said += piece
            if answer and b"[y/N]" in said:
                os.write(ours, answer)
                answer = b""
        return process.wait(timeout=30), said.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 1), (b"y\n", 0)])
def test_person_at_a_terminal_is_asked_before_anything_is_retired(
    backbone: Any, folder: Path, services: Any, answer: bytes, code: int
) -> None:
    backbone("apply", "-f", str(folder))
    (folder / "b.json").unlink()
    ended, said = at_a_terminal(folder, services.address, answer=answer)
    assert "retire this resource" in said
    assert ended == code, said
    retired = json.loads(backbone("get", "b.second", "-o", "json").stdout)["state"] == "retired"
    assert retired is (code == 0)


def test_person_who_said_yes_beforehand_is_not_asked(
    backbone: Any, folder: Path, services: Any
) -> None:
    backbone("apply", "-f", str(folder))
    (folder / "b.json").unlink()
    ended, said = at_a_terminal(folder, services.address, "--yes")
    assert ended == 0, said
    assert "[y/N]" not in said
    assert "1 retired, 2 unchanged" in said
