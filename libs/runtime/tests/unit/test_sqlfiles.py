"""Named blocks of SQL."""

import pytest

from runtime import sqlfiles


@pytest.fixture
def package(tmp_path, monkeypatch):
    def write(text):
        name = f"sqlfiles_{tmp_path.name}"
        folder = tmp_path / name
        (folder / "sql").mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "sql" / "runs.sql").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        return name

    return write


def test_blocks_are_read_by_name(package):
    text = "-- Why.\n-- name: one\nSELECT 1;\n\n-- name: two\n-- a reason\nSELECT 2\n"
    assert sqlfiles.load(package(text), "runs") == {
        "one": "SELECT 1",
        "two": "-- a reason\nSELECT 2",
    }


def test_two_blocks_of_one_name_are_refused(package):
    with pytest.raises(ValueError, match="named one"):
        sqlfiles.load(package("-- name: one\nSELECT 1\n-- name: one\nSELECT 2\n"), "runs")


def test_text_before_the_first_block_is_refused(package):
    with pytest.raises(ValueError, match="before the first"):
        sqlfiles.load(package("SELECT 1;\n-- name: one\nSELECT 1\n"), "runs")
