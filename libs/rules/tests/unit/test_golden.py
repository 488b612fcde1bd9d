"""The golden set: the same version, snapshot and cause give the same bytes, today and next year."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from contracts import canonical

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted((GOLDEN / "decisions").glob("*.json"))


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"golden_{name}", GOLDEN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


record, situations = _module("record"), _module("situations")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recorded_situation_decides_what_it_always_did(file: Path) -> None:
    recorded = json.loads(file.read_text(encoding="utf-8"))
    decision = canonical.render(record.decided(recorded))
    assert json.loads(decision) == recorded["decision"]
    assert canonical.digest(decision) == recorded["decision_sha256"]


def test_every_situation_is_recorded_and_still_the_same() -> None:
    assert {file.stem for file in FILES} == situations.SITUATIONS.keys()
    for name, situation in situations.SITUATIONS.items():
        recorded = json.loads((GOLDEN / "decisions" / f"{name}.json").read_text(encoding="utf-8"))
        assert {part: recorded[part] for part in situation} == json.loads(json.dumps(situation))


def test_recording_adds_and_never_changes(tmp_path: Path) -> None:
    first, other = list(situations.SITUATIONS.values())[:2]
    assert record.add("one", first, tmp_path)
    before = (tmp_path / "one.json").read_bytes()
    assert not record.add("one", other, tmp_path)
    assert (tmp_path / "one.json").read_bytes() == before
