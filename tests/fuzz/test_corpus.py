"""Every input that was kept, the ones that failed once among them, on its target."""

from pathlib import Path

import fuzzing
import pytest

KEPT = sorted(kept for kept in fuzzing.CORPUS.rglob("*") if kept.is_file())


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: f"{kept.parent.name}/{kept.name}")
def test_a_kept_input_holds(kept: Path) -> None:
    fuzzing.run(kept.parent.name, kept.read_bytes())


def test_every_target_has_inputs() -> None:
    assert {kept.parent.name for kept in KEPT} == set(fuzzing.TARGETS)


def test_an_input_that_takes_too_long_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "TIME_S", 0.0)
    monkeypatch.setitem(fuzzing.TARGETS, "slow", lambda _: list(range(1_000_000)) and None)
    with pytest.raises(fuzzing.TookTooLongError):
        fuzzing.run("slow", b"")
