"""`doctor`: look at everything, say what is wrong and what to do about it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from cli import doctor_looks, documents
from cli.doctor_findings import Finding, Severity, by_severity
from cli.doctor_looks import Looked
from cli.errors import CliError, UsageError
from cli.output import Format, Output
from cli.session import NamespaceOption, OutputOption, Session
from contracts import durations


def doctor(
    context: typer.Context,
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with 1 if there are only warnings, too.")
    ] = False,
    patience: Annotated[
        str,
        typer.Option(
            "--patience", metavar="DURATION", help="What should happen soon is late after it."
        ),
    ] = "2m",
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long one look may take.")
    ] = "15s",
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Look at everything and say what is wrong, where, and what to do; fail if there is an error.

    It changes nothing.
    """
    session = Session(context, namespace=namespace, output=output, yaml=True)
    waits = _duration("--patience", patience)
    longest = _duration("--timeout", timeout)
    if not longest:
        raise UsageError("--timeout is longer than nothing")
    looked = session.ask(
        lambda clients: doctor_looks.everything(
            clients, session.settings, patience=waits, within=longest
        )
    )
    findings = by_severity(
        [*doctor_looks.failures(looked), *(found for one in looked for found in one.findings)]
    )
    errors = sum(one.severity is Severity.ERROR for one in findings)
    warnings = len(findings) - errors
    _print(
        session.output,
        {
            "namespace": session.namespace,
            "looked_at": documents.instant_of(datetime.now(UTC)),
            "errors": errors,
            "warnings": warnings,
            "findings": [_finding(one) for one in findings],
            "looks": [_look(one) for one in looked],
        },
    )
    if errors or (strict and warnings):
        raise CliError(
            f"{_many(errors, 'error')} and {_many(warnings, 'warning')} in namespace "
            f"{session.namespace}"
        )


def _print(out: Output, document: dict[str, Any]) -> None:
    if out.format is Format.YAML:
        out.yaml(document)
        return
    if out.json:
        out.document(document)
        return
    out.rows(
        document["findings"],
        [
            ("SEVERITY", "severity"),
            ("FINDING", "finding"),
            ("WHERE", "where"),
            ("WHAT IS WRONG", "what"),
            ("WHAT TO DO", "do"),
        ],
        none=f"nothing is wrong in namespace {document['namespace']}",
    )
    looks: Sequence[dict[str, Any]] = document["looks"]
    for severity, heading in (("ok", "looked at, and well"), (None, "not looked at")):
        titles = [one["look"] for one in looks if one["severity"] == severity]
        if titles:
            out.note(f"{heading}: {', '.join(titles)}")


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "severity": one.severity.value,
        "finding": one.kind.value,
        "where": str(one.where),
        "what": one.what,
        "do": one.do,
        "count": one.count,
    }


def _look(one: Looked) -> dict[str, Any]:
    """Return how a look went: its severity is that of the worst it found, null without a look."""
    worst = by_severity(one.findings)[:1]
    severity = worst[0].severity.value if worst else "ok"
    return {
        "look": one.title,
        "of": str(one.of),
        "severity": severity if one.error is None else None,
        "took_seconds": round(one.took.total_seconds(), 3),
        "error": None if one.error is None else str(one.error),
    }


def _duration(option: str, text: str) -> timedelta:
    try:
        return durations.parse(text)
    except ValueError as exc:
        raise UsageError(f"{option}: {exc}") from exc


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
