"""The example of a schedule keeps what its tests say."""

from pathlib import Path

from typer.testing import CliRunner

from cli.__main__ import app


def test_the_tests_of_schedules_pass(examples: Path) -> None:
    files = sorted(map(str, examples.glob("*/*.test.yaml")))
    assert files
    result = CliRunner().invoke(app, ["test", *files])
    assert result.exit_code == 0, result.output
