import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[4]
DEFINITIONS = ROOT / "examples" / "nightly-report" / "definitions"


@pytest.fixture
def written(nowhere: Path) -> Any:
    """Writes a test of the nightly report: `written(expect={...})`."""
    (nowhere / "nightly-report.yaml").write_text((DEFINITIONS / "nightly-report.yaml").read_text())

    def write(**changes: Any) -> str:
        case = {
            "name": "a night",
            "from": "2026-05-11T20:00:00Z",
            "until": "2026-05-12T05:00:00Z",
            "expect": {"runs": [{"due": "2026-05-12T00:30:00Z"}]},
            **changes,
        }
        document = {
            "apiVersion": "backbone/v1",
            "kind": "ScheduleTest",
            "definition": changes.pop("definition", "nightly-report.yaml"),
            "tests": [{key: value for key, value in case.items() if key != "definition"}],
        }
        file = nowhere / "a.test.yaml"
        file.write_text(yaml.safe_dump(document))
        return str(file)

    return write


def test_tests_that_pass_say_so(backbone: Any, written: Any) -> None:
    result = backbone("test", written())
    assert result.exit_code == 0
    assert result.stdout.startswith("ok   ")
    assert "1 tests passed" in result.stderr


def test_a_test_that_fails_shows_what_differs_and_fails_the_command(
    backbone: Any, written: Any
) -> None:
    file = written(expect={"runs": [{"due": "2026-05-12T01:30:00Z"}]})
    result = backbone("test", file)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == f"FAIL {file}: a night"
    assert lines[1].strip().startswith("+ run 2026-05-12T00:30:00Z started at")
    assert lines[2].strip() == "- run 2026-05-12T01:30:00Z"
    assert "1 of 1 tests failed" in result.stderr
    machine = backbone("test", file, "-o", "json")
    assert machine.exit_code == 1
    document = json.loads(machine.stdout)
    assert (document["test"], document["passed"]) == ("a night", False)
    assert document["counts"]["run"] == 1


@pytest.mark.parametrize(
    ("changes", "exit_code", "told"),
    [
        ({"expect": {}}, 1, "a test expects runs, outcomes or counts"),
        ({"until": "2026-05-11T20:00:00Z"}, 1, "until is later than from"),
        ({"given": {"outage": []}}, 1, "tests.0.given.outage"),
        ({"from": "yesterday"}, 1, "tests.0.from"),
        ({"definition": "nowhere.yaml"}, 2, "nowhere.yaml cannot be read"),
        ({"from": "2020-05-11T20:00:00Z"}, 1, "more than 20000 due times"),
    ],
)
def test_a_file_that_is_no_test_says_what_is_wrong(
    backbone: Any, written: Any, changes: dict[str, Any], exit_code: int, told: str
) -> None:
    result = backbone("test", written(**changes))
    assert result.exit_code == exit_code
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_the_commands_of_the_page_can_be_run_as_they_stand(
    backbone: Any, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "schedules.md").read_text()
    lines = [
        line.split(" #")[0]
        for line in page.splitlines()
        if line.startswith(("$ backbone test", "$ backbone schedules next -f"))
    ]
    assert len(lines) == 2
    monkeypatch.chdir(ROOT)
    for line in lines:
        result = backbone(*shlex.split(line)[2:])
        assert result.exit_code == 0, result.stdout + result.stderr
