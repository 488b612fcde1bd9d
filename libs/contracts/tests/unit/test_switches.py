"""What kill switches say of labels."""

import pytest

from contracts import switches


def test_labels_are_names_and_values() -> None:
    assert switches.labels([]) == {}
    words = ["tier=gold", "team=billing", "a=", "b=c=d"]
    assert switches.labels(words) == {"tier": "gold", "team": "billing", "a": "", "b": "c=d"}


@pytest.mark.parametrize("word", ["tier", "=gold", ""])
def test_what_is_no_label_is_told(word: str) -> None:
    with pytest.raises(ValueError, match="NAME=VALUE, such as tier=gold, and not"):
        switches.labels([word])
