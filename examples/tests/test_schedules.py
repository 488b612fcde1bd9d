"""The examples of schedules keep what their tests say, and are what could be applied."""

from pathlib import Path

from typer.testing import CliRunner

from cli.__main__ import app
from contracts.catalogue import Catalogue
from contracts.definitions import ActivityDefinition
from rules import checks
from rules.checks import Surroundings
from runtime import yamlfiles


def test_the_tests_of_schedules_pass(examples: Path) -> None:
    files = sorted(map(str, (examples / "schedules").glob("*.test.yaml")))
    assert files
    result = CliRunner().invoke(app, ["test", *files])
    assert result.exit_code == 0, result.output


def test_the_definition_could_be_applied(examples: Path, catalogue: Catalogue) -> None:
    text = (examples / "schedules" / "nightly-report.yaml").read_text(encoding="utf-8")
    definition = ActivityDefinition.model_validate(yamlfiles.parse(text))
    assert checks.problems(definition, Surroundings(catalogue=catalogue)) == []
