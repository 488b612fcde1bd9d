"""The golden due times: an upgrade of a library or of the time zone data that moves one is seen."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted((GOLDEN / "due_times").glob("*.json"))


def _module() -> Any:
    path = GOLDEN / "record_due_times.py"
    spec = importlib.util.spec_from_file_location("golden_due_times", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


record = _module()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_recorded_due_times_are_what_they_always_were(file: Path) -> None:
    recorded = json.loads(file.read_text(encoding="utf-8"))
    assert record.found(recorded) == recorded["due"]


def test_every_situation_is_recorded_and_still_the_same() -> None:
    assert {file.stem for file in FILES} == record.SITUATIONS.keys()
    for name, (schedule, after, until) in record.SITUATIONS.items():
        recorded = json.loads((GOLDEN / "due_times" / f"{name}.json").read_text(encoding="utf-8"))
        assert (recorded["schedule"], recorded["after"], recorded["until"]) == (
            schedule,
            after,
            until,
        )
        assert recorded["due"]


def test_recording_adds_and_never_changes(tmp_path: Path) -> None:
    assert record.add("leap-days", tmp_path)
    (tmp_path / "leap-days.json").write_text("kept")
    assert not record.add("leap-days", tmp_path)
    assert (tmp_path / "leap-days.json").read_text() == "kept"
