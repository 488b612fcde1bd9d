"""`test`: the tests of definitions' schedules, which need no service."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from cli import definition_files
from cli.errors import CliError, UsageError
from cli.session import OutputOption, Session
from contracts.definitions import ActivityDefinition
from contracts.scheduletests import Case, ScheduleTest
from rules import rehearsal_verdicts, rehearsals
from rules.errors import RulesError


@dataclass(frozen=True)
class _Result:
    file: str
    case: Case
    differences: list[str]
    counts: dict[str, int]


def run_tests(
    context: typer.Context,
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Tests: kind ScheduleTest, YAML or JSON.")
    ],
    *,
    output: OutputOption = None,
) -> None:
    """Let a fake clock pass over outages, and say whether the runs are those that are expected.

    Ends with 1 if one of the tests fails.
    """
    session = Session(context, namespace=None, output=output)
    out = session.output
    passed = failed = 0
    # All files are read first: a mistake in the last one is told before anything passes.
    for file, definition, test_file in [_read(file) for file in files]:
        for result in _results(file, definition, test_file):
            passed, failed = passed + (not result.differences), failed + bool(result.differences)
            if out.json:
                out.line(_document(result))
                continue
            word, style = ("FAIL", "red") if result.differences else ("ok", "green")
            out.text(f"{word:4} {file}: {result.case.name}", style=style)
            for line in result.differences:
                out.text(f"       {line}")
    if failed:
        raise CliError(
            f"{failed} of {passed + failed} tests failed; - is what a test expects, + what comes"
        )
    if not out.json:
        out.note(f"{passed} tests passed")


def _read(file: str) -> tuple[str, ActivityDefinition, ScheduleTest]:
    if file == "-":
        raise UsageError("a test is a file: its definition is looked for beside it")
    document = definition_files.parsed(file)
    try:
        found = ScheduleTest.model_validate(document)
    except ValidationError as exc:
        raise CliError(f"{file} is not a test: {definition_files.told(exc)}") from exc
    return file, definition_files.load(str(Path(file).parent / found.definition)), found


def _results(file: str, definition: ActivityDefinition, found: ScheduleTest) -> Iterator[_Result]:
    for case in found.tests:
        try:
            happened = rehearsals.rehearse(definition, case)
        except RulesError as exc:
            raise CliError(f"{file}: {case.name}: {exc}") from exc
        yield _Result(
            file=file,
            case=case,
            differences=rehearsal_verdicts.differences(case, happened),
            counts={str(name): count for name, count in rehearsals.counted(happened).items()},
        )


def _document(result: _Result) -> dict[str, Any]:
    return {
        "file": result.file,
        "test": result.case.name,
        "passed": not result.differences,
        "differences": result.differences,
        "counts": result.counts,
    }
