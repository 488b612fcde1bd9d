"""The guarantees: each promise is there, names tests, and every test that it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guarantees.md"
PROMISES = [f"P{number}" for number in (*range(1, 25), 26, 28, *range(29, 37), 38, 39)]
NAMED = re.compile(r"`([\w./-]+\.py)::(\w+)`")


def _sections(text):
    """Return the part of the page that belongs to each promise."""
    parts = re.split(r"^### (P\d+)\. .+$", text, flags=re.MULTILINE)
    return {
        name: re.split(r"^## ", body, maxsplit=1, flags=re.MULTILINE)[0]
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


@cache
def _tests(path):
    """Return the names of the tests of a file that pytest collects; none where there is none."""
    file = ROOT / path
    if not file.is_file() or not re.fullmatch(r"test_\w+\.py", file.name):
        return frozenset()
    return frozenset(
        node.name
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    )


def _missing(text):
    return [f"{path}::{name}" for path, name in NAMED.findall(text) if name not in _tests(path)]


@pytest.fixture
def page():
    return PAGE.read_text(encoding="utf-8")


def test_each_promise_is_told_once(page):
    headings = re.findall(r"^### (P\d+)\. ", page, re.MULTILINE)
    assert sorted(headings) == sorted(PROMISES)


@pytest.mark.parametrize("promise", PROMISES)
def test_promise_names_the_tests_that_show_it(page, promise):
    _, shown_by, proof = _sections(page)[promise].partition("*Shown by:*")
    assert shown_by
    lines = [line for line in proof.splitlines() if line.strip()]
    assert lines
    # Each line is one test, so that none is overlooked for the way it is written.
    assert [line for line in lines if not re.fullmatch(f"- {NAMED.pattern}", line)] == []
    assert len(set(lines)) == len(lines)


def test_every_test_that_is_named_exists(page):
    assert _missing(page) == []


def test_what_is_not_promised_is_told(page):
    _, heading, rest = page.partition("\n## What is not promised\n")
    assert heading
    assert len(re.findall(r"^- \*\*", rest, re.MULTILINE)) >= 5


@pytest.mark.parametrize(
    "named",
    [
        "tests/contract/test_guarantees.py::test_that_nobody_wrote",
        "tests/contract/test_nowhere.py::test_each_promise_is_told_once",
        "tests/contract/test_guarantees.py::page",
        "conftest.py::endpoints",
    ],
)
def test_name_of_no_test_is_found(named):
    assert _missing(f"- `{named}`") == [named]
