"""Positions: every path leads to where its value begins, or to what lacks it."""

import json

import pytest

from registry.domain import documents
from registry.domain.positions import ancestry, join, within

YAML = b"""\
# A comment.
metadata:
  id: billing
  labels: {tier: gold,   b.c: x}
spec:
  rules:
    - name: remind
      task:
        input: {'odd key': "x", amount: y}
    -   name: call
  text: |
    several
    lines
  last: end
"""


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("", (2, 1), (2, 1)),
        ("metadata", (3, 3), (2, 1)),
        ("metadata.id", (3, 7), (3, 3)),
        ("metadata.labels", (4, 11), (4, 3)),
        ("metadata.labels.tier", (4, 18), (4, 12)),
        ("metadata.labels['b.c']", (4, 31), (4, 26)),
        ("metadata.labels.b.c", (4, 31), (4, 26)),
        ("spec.rules", (7, 5), (6, 3)),
        ("spec.rules[0]", (7, 7), (7, 7)),
        ("spec.rules[0].task.input['odd key']", (9, 28), (9, 17)),
        ("spec.rules[0].task.input.odd key", (9, 28), (9, 17)),
        ("spec.rules[0].task.input.amount", (9, 41), (9, 33)),
        ("spec.rules[1].name", (10, 15), (10, 9)),
        ("spec.text", (11, 9), (11, 3)),
        ("spec.last", (14, 9), (14, 3)),
    ],
)
def test_values_and_keys_are_where_they_are_written(
    path: str, value: tuple[int, int], key: tuple[int, int]
) -> None:
    positions = documents.read(YAML).positions
    assert positions.of(path) == value
    assert positions.of_key(path) == key


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("metadata.owner", (3, 3)),
        ("spec.rules[1].task.handler", (10, 9)),
        ("spec.rules[7].name", (7, 5)),
        ("spec.rules[0].task.input.amount.deeper[3]", (9, 41)),
        ("nowhere", (2, 1)),
        ("[0]", (2, 1)),
        ("..[[", (2, 1)),
    ],
)
def test_what_is_missing_is_where_the_object_is_that_lacks_it(
    path: str, place: tuple[int, int]
) -> None:
    positions = documents.read(YAML).positions
    assert positions.of(path) == place
    assert positions.of_key(path) == place


def test_json_has_positions_as_well() -> None:
    raw = b'{\n  "a": {"b c": [1, "\\ud83d\\ude00", {"d": null}]},\r\n\t"e": 2\n}'
    positions = documents.read(raw).positions
    assert positions.of("a['b c'][2].d") == (2, 42)
    assert positions.of_key("a['b c'][2].d") == (2, 37)
    assert positions.of("e") == (3, 7)


def test_flow_style_of_yaml_has_positions_as_well() -> None:
    positions = documents.read(b"{a: {b: [x, y]},\n c: z}").positions
    assert positions.of("a.b[1]") == (1, 13)
    assert positions.of("c") == (2, 5)


def test_keys_that_are_lists_do_not_shift_what_follows() -> None:
    positions = documents.read(b"? [a, {b: c}]\n: [d]\ne:\n  f: 1\n").positions
    assert positions.of("e.f") == (4, 6)


def test_large_documents_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    document = documents.read(json.dumps({f"k{n}": n for n in range(1000)}).encode())
    positions = document.positions
    assert document.positions is positions


def test_paths_are_joined_and_taken_apart() -> None:
    path = join(join(join("", "spec"), "rules"), 3)
    assert path == "spec.rules[3]"
    assert list(ancestry(path)) == ["spec.rules[3]", "spec.rules", "spec", ""]
    assert within("spec.rules[3].when", {"spec.rules[3]"})
    assert within("spec.rules[3]", {""})
    assert not within("spec.rules[31]", {"spec.rules[3]"})
