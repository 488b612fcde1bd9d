import pytest

from console.domain import places


def test_a_place_is_a_partition_and_an_offset() -> None:
    assert places.parse("3:42") == (3, 42)


@pytest.mark.parametrize("text", ["", "3", "3:", ":4", "-1:4", "3:4:5", "٣:4", "1" * 10 + ":1"])
def test_what_is_no_place_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="such as 0:42"):
        places.parse(text)
