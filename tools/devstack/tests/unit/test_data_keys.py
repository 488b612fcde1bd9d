"""The data keys of a stack are made once, and a file that cannot be used is told of."""

from pathlib import Path

import pytest

from devstack import data_keys
from devstack.errors import DevstackError
from runtime import datakeys


def test_keys_are_made_once(tmp_path: Path) -> None:
    path = data_keys.bring(tmp_path / "keys")
    made = datakeys.read_document(path)
    assert data_keys.bring(tmp_path / "keys") == path
    assert datakeys.read_document(path) == made
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_can_read_is_told_of(tmp_path: Path) -> None:
    data_keys.bring(tmp_path).chmod(0o644)
    with pytest.raises(DevstackError, match=r"chmod 600 .* restore it"):
        data_keys.bring(tmp_path)
