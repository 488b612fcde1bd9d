import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def versions(backbone: Any, stack: Path, document: Any) -> Path:
    """Three versions of x.y."""
    for more in ({"rules": 1}, {"rules": 2}, {"rules": 2, "context": []}):
        assert backbone("apply", "-f", "-", stdin=document("x.y", **more)).exit_code == 0
    return stack


def test_diff_is_of_the_current_version_and_the_one_before(backbone: Any, versions: Path) -> None:
    result = backbone("diff", "x.y")
    assert result.stdout.splitlines() == [
        "definition x.y: version 2 to version 3",
        "    + context is new",
    ]


def test_diff_is_of_any_two_versions(backbone: Any, versions: Path) -> None:
    result = backbone("diff", "x.y", "--from", "3", "--to", "1", "-o", "json")
    told = json.loads(result.stdout)
    assert (told["from_version"], told["to_version"]) == (3, 1)
    assert [(one["change"], one["path"]) for one in told["differences"]] == [
        ("removed", "spec.context"),
        ("changed", "spec.rules"),
    ]
    assert told["differences"][1]["before"] == 2


def test_diff_of_a_file_is_against_what_is_current(
    backbone: Any, versions: Path, services: Any, document: Any
) -> None:
    (versions / "x.json").write_text(document("x.y", rules=3, context=[], every=5))
    (versions / "new.json").write_text(document("new.one"))
    result = backbone("diff", "-f", "x.json", "-f", "new.json")
    assert result.stdout.splitlines() == [
        "update     definition x.y version 4  x.json",
        "    + every is new",
        "    ~ rules changes",
        "    next due times of often:",
        "      before  none",
        "      after   2026-03-02T12:05:00Z  2026-03-02T12:10:00Z",
        "create     definition new.one version 1  new.json",
    ]
    assert services.registry.head("x.y").version == 3


def test_diff_of_a_file_that_means_the_same_says_so(
    backbone: Any, versions: Path, document: Any
) -> None:
    same = document("x.y", context=[], rules=2)
    result = backbone("diff", "-f", "-", stdin=same)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "they mean what is current" in result.stderr


def test_diff_of_a_broken_file_tells_its_problems(
    backbone: Any, versions: Path, document: Any
) -> None:
    result = backbone("diff", "-f", "-", stdin=document("x.y", broken=1))
    assert result.exit_code == 1
    assert "<stdin>:9:3: spec.rules[0].when: it does not compile" in result.stdout


@pytest.mark.parametrize("words", [(), ("x.y", "-f", "x.json"), ("-f", "-", "--to", "2")])
def test_options_that_do_not_fit_are_refused(
    backbone: Any, versions: Path, words: tuple[str, ...]
) -> None:
    assert backbone("diff", *words).exit_code == 2


def test_diff_of_a_version_that_is_not_there_says_so(backbone: Any, versions: Path) -> None:
    result = backbone("diff", "x.y", "--from", "9")
    assert result.exit_code == 1
    assert "there is no version 9" in result.stderr
