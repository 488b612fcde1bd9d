import json
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[4]
NIGHTLY = str(ROOT / "examples" / "nightly-report" / "definitions" / "nightly-report.yaml")


def rows(result: Any) -> list[dict[str, Any]]:
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_next_tells_when_each_due_time_is_taken_up_and_what_the_clocks_do(backbone: Any) -> None:
    result = backbone("schedules", "next", "--file", NIGHTLY, "-n", "3",
                      "--after", "2026-10-24T21:00:00Z", "-o", "json")  # fmt: skip
    first, second, third = rows(result)
    assert first == {
        "due": "2026-10-25T00:30:00Z",
        "local": "Sun 2026-10-25 02:30:00+02:00 CEST",
        "triggers": ["nightly"],
        "taken_up": "2026-10-25T00:30:00Z",
        "note": "nightly: the clocks show 02:30 twice on this day: due the first time only",
    }
    assert second["local"] == "Mon 2026-10-26 02:30:00+01:00 CET"
    assert second["note"] is None
    # Jitter is always the same for a due time.
    assert (third["due"], third["taken_up"]) == (
        "2026-10-26T07:00:00Z",
        "2026-10-26T07:00:38.203000Z",
    )


def test_next_shows_local_times_of_another_zone(backbone: Any) -> None:
    result = backbone("schedules", "next", "-f", NIGHTLY, "-n", "1", "--tz", "America/New_York",
                      "--after", "2027-03-27T21:00:00Z")  # fmt: skip
    assert result.exit_code == 0
    assert "Sat 2027-03-27 21:00:00-04:00 EDT" in result.stdout
    assert "the clocks skip 02:30 on this day" in result.stdout


def test_next_of_what_is_applied_asks_the_registry(backbone: Any, stack: Path) -> None:
    file = stack / "nightly.yaml"
    file.write_text(Path(NIGHTLY).read_text())
    assert backbone("apply", "-f", str(file), "--reason", "r").exit_code == 0
    found = rows(backbone("schedules", "next", "billing.nightly-report", "-n", "20", "-o", "json"))
    assert len(found) == 20
    assert [row["due"] for row in found] == sorted(row["due"] for row in found)


def test_next_of_what_is_never_due_again_says_so(backbone: Any, nowhere: Path) -> None:
    document = yaml.safe_load(Path(NIGHTLY).read_text())
    document["spec"]["triggers"] = [
        {"name": "once", "schedule": {"every": "1h", "end": "2020-01-01T00:00:00Z",
                                      "missedRuns": {"policy": "skip", "tolerance": "1m"}}}
    ]  # fmt: skip
    del document["spec"]["rules"][1:]
    document["spec"]["rules"][0]["when"] = "true"
    file = nowhere / "once.yaml"
    file.write_text(yaml.safe_dump(document))
    result = backbone("schedules", "next", "-f", str(file), "--after", "2026-01-01T00:00:00Z")
    assert result.exit_code == 0
    assert "nothing of billing.nightly-report is due after 2026-01-01T00:00:00Z" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["an-id", "-f", NIGHTLY], "either an ID or --file"),
        ([], "either an ID or --file"),
        (["-f", NIGHTLY, "--tz", "Europe/Berln"], "--tz: unknown time zone 'Europe/Berln'"),
        (["-f", NIGHTLY, "--after", "tomorrow"], "--after is a time with its zone"),
    ],
)
def test_next_says_what_is_wrong(backbone: Any, arguments: list[str], told: str) -> None:
    result = backbone("schedules", "next", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr


def test_next_of_a_definition_without_schedules_says_so(backbone: Any) -> None:
    file = str(ROOT / "examples" / "definitions" / "large-payment.yaml")
    result = backbone("schedules", "next", "-f", file)
    assert result.exit_code == 1
    assert "billing.large-payment has no schedule" in result.stderr
