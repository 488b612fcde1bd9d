import pytest

from console.domain import labels


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("", {}),
        ("tier=gold", {"tier": "gold"}),
        (" tier=gold,team=billing  a= ", {"tier": "gold", "team": "billing", "a": ""}),
        ("a=b=c", {"a": "b=c"}),
    ],
)
def test_labels_have_spaces_or_commas_between_them(text: str, parsed: dict[str, str]) -> None:
    assert labels.parse(text) == parsed


@pytest.mark.parametrize("text", ["tier", "=gold"])
def test_what_is_no_label_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="such as tier=gold"):
        labels.parse(text)
