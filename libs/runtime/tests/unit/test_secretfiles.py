"""Secrets in files: what they hold is read, and never told."""

import pytest

from runtime import secretfiles
from runtime.errors import SecretUnreadableError


def test_it_is_read_each_time_without_the_blanks_around_it(tmp_path):
    path = tmp_path / "password"
    path.write_text("first\n")
    read = secretfiles.reader(path)
    assert read() == "first"
    path.write_text("second")
    assert read() == "second"


def test_without_a_file_there_is_nothing_to_read():
    assert secretfiles.reader(None) is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        (b" \n", "is empty"),
        (b"canary" * 20_000, "is larger than 65536 bytes"),
        (b"canary\xff", "is not UTF-8"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_file_alone(tmp_path, content, says):
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SecretUnreadableError, match=f"^{path} {says}") as caught:
        secretfiles.reader(path)
    told = [caught.value, caught.value.__cause__]
    assert not [one for one in told if "canary" in repr(one)]
