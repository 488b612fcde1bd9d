import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from devstack.errors import DevstackError
from devstack.tools import cache


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BACKBONE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def install(name: str, fill: Callable[[Path], object]) -> Path:
    return cache.installed(name, fill, what="installing a thing", usual="1 s")


def test_an_entry_is_installed_once(root: Path) -> None:
    calls: list[Path] = []

    def fill(target: Path) -> None:
        calls.append(target)
        (target / "program").write_text("x")

    assert install("thing-1", fill) == install("thing-1", fill) == root / "thing-1"
    assert len(calls) == 1
    assert (root / "thing-1" / "program").read_text() == "x"


def test_an_installation_that_fails_leaves_nothing_that_counts(root: Path) -> None:
    def fail(target: Path) -> None:
        (target / "half").write_text("x")
        message = "no network"
        raise DevstackError(message)

    with pytest.raises(DevstackError, match="no network"):
        install("thing-1", fail)

    assert not (root / "thing-1").exists()
    assert not list(root.glob("*.tmp-*"))


def test_what_a_killed_installation_left_is_cleared(root: Path) -> None:
    (root / ".thing-1.tmp-abc").mkdir(parents=True)

    install("thing-1", lambda target: (target / "program").write_text("x"))

    assert sorted(path.name for path in root.iterdir()) == [".thing-1.lock", "thing-1"]


def test_two_installations_at_once_do_the_work_once() -> None:
    begun, go_on = threading.Event(), threading.Event()
    calls: list[Path] = []

    def fill(target: Path) -> None:
        calls.append(target)
        begun.set()
        assert go_on.wait(10)

    threads = [threading.Thread(target=install, args=("thing-1", fill)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    go_on.set()
    for thread in threads:
        thread.join(10)

    assert len(calls) == 1


def test_an_installation_tells_what_it_does_and_how_long_it_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    install("thing-1", lambda _: None)

    said = capsys.readouterr().err
    assert "installing a thing (usually 1 s)" in said
    assert "done in" in said


@pytest.mark.parametrize("home", ["", None])
def test_an_empty_home_is_not_the_root_folder(
    monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    monkeypatch.delenv("BACKBONE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if home is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", home)

    assert cache.directory().parts[-2:] == (".cache", "backbone")
    assert cache.directory().parent.parent != Path("/")


def test_a_cache_that_cannot_be_written_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BACKBONE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DevstackError, match="set BACKBONE_CACHE to another folder"):
        install("thing-1", lambda _: None)
