"""The threat model: each edge has all six threats, each mitigation its test, and it exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
_, *_PARTS = re.split(r"^### (.+)$", PAGE.partition("\n## What is not done")[0], flags=re.MULTILINE)
EDGES = dict(zip(_PARTS[::2], _PARTS[1::2], strict=True))
NAMED = re.compile(r"`([\w./-]+\.py)::(\w+)`")


@cache
def _tests(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, functions)}


def _rows(body):
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in body.splitlines()
        if re.match(r"\| [STRIDE] \|", line)
    ]


def test_the_edges_are_there():
    assert len(EDGES) == 11


@pytest.mark.parametrize("edge", EDGES)
def test_each_edge_has_all_six(edge):
    assert [row[0] for row in _rows(EDGES[edge])] == list("STRIDE")


@pytest.mark.parametrize("edge", EDGES)
def test_each_threat_has_a_mitigation_with_its_test_or_is_said_to_be_open(edge):
    for _, threat, mitigation, shown in _rows(EDGES[edge]):
        assert threat
        if mitigation.startswith("open"):
            assert "\nOpen: " in EDGES[edge]
            continue
        assert NAMED.search(shown), threat
        assert NAMED.sub("", shown).strip(" ,") == "", threat


def test_every_test_that_is_named_exists():
    named = NAMED.findall(PAGE)
    assert len(named) > 60
    assert [f"{path}::{name}" for path, name in named if name not in _tests(path)] == []


def test_who_finds_a_weakness_is_told_where_to_go():
    policy = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "privately" in policy
    assert not re.search(r"[\w.]+@[\w.]+", policy), "no address that nobody reads"
