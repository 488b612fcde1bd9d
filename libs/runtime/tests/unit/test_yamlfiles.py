"""What YAML means, and what it may not mean."""

import pytest

from runtime import yamlfiles


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("a: -0x1F", {"a": "-0x1F"}),
        ("a: 0x1F", {"a": 31}),
        ("a: 0o17", {"a": 15}),
        ("a: 017", {"a": 17}),
        ("a: 1.50", {"a": 1.5}),
        ("a: 1e3", {"a": 1000.0}),
        ("a: 5.", {"a": 5.0}),
        ("a: ~\nb:\nc: null", {"a": None, "b": None, "c": None}),
        ("a: true\nb: yes\non: off", {"a": True, "b": "yes", "on": "off"}),
        ("a: 2026-01-01", {"a": "2026-01-01"}),
        ("a: 7:30\nb: 1_000", {"a": "7:30", "b": "1_000"}),
        ("1: a\nnull: b", {"1": "a", "null": "b"}),
        ("a: '12'", {"a": "12"}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ('{"a": [1, "x", {}]}', {"a": [1, "x", {}]}),
        ("- 1\n- [2, 3]", [1, [2, 3]]),
        ("", None),
    ],
)
def test_types_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert yamlfiles.parse(text) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &a 1", "anchors"),
        ("a: *a", "aliases"),
        ("a: !!python/object/apply:os.system [id]", "tags"),
        ("a: !!str 1", "tags"),
        ("a: 1\na: 2", "twice"),
        ("1: a\n'1': b", "twice"),
        ("[a]: b", "a key is text"),
        ("a: " + "[" * 100 + "]" * 100, "deeper than 62"),
        ("a: 9223372036854775808", "no number"),
        ("a: .nan", "no number"),
        ("a: 1e400", "no number"),
        (r'a: "\ud800"', "surrogate"),
        (r'"\ud800": a', "surrogate"),
        ("a: 1\n---\nb: 1", "single document"),
        ("a: [", "expected"),
    ],
)
def test_what_could_mean_something_else_is_refused_in_one_line(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        yamlfiles.parse(text)
    assert "\n" not in str(refused.value)


def test_as_deep_as_the_registry_takes_is_taken() -> None:
    assert yamlfiles.parse("[" * 62 + "1" + "]" * 62)
