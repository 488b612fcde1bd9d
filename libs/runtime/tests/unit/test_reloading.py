"""Files that change while they are in use."""

import os

import pytest
import structlog

from runtime import reloading
from runtime.errors import ConfigurationError
from runtime.reloading import Reloaded


@pytest.fixture(autouse=True)
def at_each_look(monkeypatch):
    monkeypatch.setattr(reloading, "_LOOK_S", 0.0)


@pytest.fixture
def files(tmp_path):
    """Two files that have to say the same."""
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text("1")
    return files


@pytest.fixture
def reloaded(files):
    def read():
        found = {file.read_text() for file in files}
        if len(found) > 1:
            raise ConfigurationError("they do not fit together")
        return found.pop()

    return Reloaded("numbers", files, read)


def replace(file, text):
    new = file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, file)  # noqa: PTH105 - as a secret that is mounted is replaced


def test_what_is_replaced_is_read_again(files, reloaded):
    assert reloaded.newest() == "1"
    for file in files:
        replace(file, "2")
    assert reloaded.newest() == "2"


def test_half_a_replacement_changes_nothing_until_it_is_whole(files, reloaded):
    replace(files[0], "2")
    with structlog.testing.capture_logs() as logs:
        assert reloaded.newest() == "1"
    assert [(one["event"], one["error"]) for one in logs] == [
        ("files_kept", "they do not fit together")
    ]
    files[1].unlink()
    assert reloaded.newest() == "1"
    replace(files[1], "2")
    assert reloaded.newest() == "2"


def test_what_changes_while_it_is_read_is_read_again(files):
    def read():
        text = files[0].read_text()
        if text == "1":
            replace(files[0], "2")
        return text

    with pytest.raises(ConfigurationError, match="is being replaced"):
        Reloaded("numbers", files[:1], read)


def test_what_is_missing_from_the_start_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match=r"numbers: .*/none cannot be read: No such file"):
        Reloaded("numbers", [tmp_path / "none"], str)
