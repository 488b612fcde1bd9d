import os
import stat
from pathlib import Path

import pytest

from devstack.errors import DevstackError, StackRunningError
from devstack.state import StateFolder


def test_the_folder_and_what_is_in_it_are_private(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    folder.secret("postgres")

    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder.path / "secrets.json").stat().st_mode) == 0o600


def test_a_secret_stays_the_same_and_differs_between_names_and_stacks(tmp_path: Path) -> None:
    one, two = StateFolder(tmp_path / "one"), StateFolder(tmp_path / "two")
    for folder in (one, two):
        folder.create()
    secrets = {one.secret("ledger"), one.secret("registry"), two.secret("ledger")}

    assert len(secrets) == 3
    assert StateFolder(tmp_path / "one").secret("ledger") == one.secret("ledger")


def test_a_second_supervisor_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    first = StateFolder(tmp_path)
    first.acquire()
    with pytest.raises(StackRunningError, match=rf"already running \(pid {os.getpid()}\)"):
        StateFolder(tmp_path).acquire()

    first.release()
    second = StateFolder(tmp_path)
    second.acquire()
    holder = second.holder()
    assert holder is not None
    assert holder.pid == os.getpid()
    second.release()
    assert second.holder() is None


def test_a_holder_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.create()
    folder.write("supervisor", {"pid": os.getpid(), "began": "another life of this pid"})

    assert folder.holder() is None


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DevstackError, match=r"cannot use .* as the state folder"):
        StateFolder(tmp_path / "file" / "state").create()


def test_a_document_cut_short_counts_as_none(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.create()
    (folder.path / "ports.json").write_text('{"postgres": 2')

    assert folder.read("ports", {}) == {}
