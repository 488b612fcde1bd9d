import json
from pathlib import Path
from typing import Any

import pytest
import yaml


def document(name: str, **more: Any) -> str:
    return json.dumps({"metadata": {"id": name, "namespace": "dev", "owner": "me"}, **more})


@pytest.fixture
def folder(stack: Path) -> Path:
    folder = stack / "definitions"
    (folder / "deeper").mkdir(parents=True)
    (folder / "b.json").write_text(document("b.second"))
    (folder / "deeper" / "c.yaml").write_text(document("c.third"))
    (folder / "a.yml").write_text(document("a.first"))
    (folder / "README.md").write_text("not a definition")
    return folder


def test_apply_stores_every_definition_of_a_folder(backbone: Any, folder: Path) -> None:
    result = backbone("apply", "-f", str(folder), "-o", "json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [(line["definition_id"], line["version"], line["result"]) for line in lines] == [
        ("a.first", 1, "applied"),
        ("b.second", 1, "applied"),
        ("c.third", 1, "applied"),
    ]


def test_apply_again_says_that_nothing_changed(backbone: Any, folder: Path) -> None:
    backbone("apply", "-f", str(folder))
    result = backbone("apply", "-f", str(folder / "a.yml"))
    assert "a.first version 1 unchanged" in result.stdout


def test_apply_reads_standard_input(backbone: Any, stack: Path, services: Any) -> None:
    result = backbone("apply", "-f", "-", "--reason", "because", stdin=document("x.y"))
    assert result.exit_code == 0
    assert "x.y" in services.registry.stored
    assert services.registry.reasons == ["because"]


def test_apply_names_the_operating_system_user(
    backbone: Any, stack: Path, services: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    backbone("apply", "-f", "-", stdin=document("x.y"))
    assert services.registry.actors == ["ada"]


def test_apply_lists_all_problems_and_still_applies_the_others(
    backbone: Any, folder: Path, services: Any
) -> None:
    bad = folder / "b.json"
    bad.write_text(document("b.second", broken=True))
    result = backbone("apply", "-f", str(folder))
    assert result.exit_code == 1
    assert f"{bad}: invalid" in result.stdout
    assert "spec.rules[0].when: it does not compile" in result.stdout
    assert "spec.taskQueue: it has to end in -tq" in result.stdout
    assert sorted(services.registry.stored) == ["a.first", "c.third"]
    assert "1 of 3 files could not be applied" in result.stderr


def test_apply_gives_problems_as_json(backbone: Any, stack: Path) -> None:
    result = backbone("-o", "json", "apply", "-f", "-", stdin=document("x.y", broken=True))
    (line,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert line["result"] == "invalid"
    assert [one["path"] for one in line["problems"]] == ["spec.rules[0].when", "spec.taskQueue"]


def test_apply_goes_on_after_a_conflict(backbone: Any, folder: Path) -> None:
    (folder / "a.yml").write_text(document("a.first", raced=True))
    result = backbone("apply", "-f", str(folder))
    assert result.exit_code == 1
    assert "the definition was changed meanwhile; look again and retry" in result.stdout
    assert "c.third version 1 applied" in result.stdout


def test_dry_run_stores_nothing(backbone: Any, stack: Path, services: Any) -> None:
    result = backbone("apply", "-f", "-", "--dry-run", stdin=document("x.y"))
    assert result.exit_code == 0
    assert "x.y version 1 valid" in result.stdout
    assert services.registry.stored == {}


@pytest.mark.parametrize("name", ["absent.yaml", "empty"])
def test_apply_refuses_what_is_not_there(backbone: Any, stack: Path, name: str) -> None:
    (stack / "empty").mkdir()
    result = backbone("apply", "-f", name)
    assert result.exit_code == 2
    assert name in result.stderr


def test_get_lists_every_page(backbone: Any, folder: Path) -> None:
    backbone("apply", "-f", str(folder))
    result = backbone("get", "-o", "json")
    names = [json.loads(line)["definition_id"] for line in result.stdout.splitlines()]
    assert names == ["a.first", "b.second", "c.third"]


def test_get_as_yaml_is_what_apply_reads(backbone: Any, folder: Path) -> None:
    backbone("apply", "-f", str(folder))
    result = backbone("get", "a.first", "-o", "yaml")
    assert yaml.safe_load(result.stdout) == json.loads(document("a.first"))


def test_get_as_json_holds_the_content(backbone: Any, folder: Path) -> None:
    backbone("apply", "-f", str(folder))
    found = json.loads(backbone("get", "a.first", "-o", "json").stdout)
    assert found["applied_at"] == "2026-03-02T12:00:00Z"
    assert found["content"]["metadata"]["id"] == "a.first"


def test_get_of_an_unknown_definition_says_so(backbone: Any, stack: Path) -> None:
    result = backbone("get", "no.such")
    assert result.exit_code == 1
    assert result.stderr == "backbone: there is no definition no.such\n"
