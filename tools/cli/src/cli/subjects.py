"""`subjects`: people whose sensitive values are kept: what is kept, and its end."""

import sys
import uuid
from typing import Annotated, Any

import typer

from backbone.ledger.v1 import subjects_pb2 as pb
from cli import documents
from cli.errors import UsageError
from cli.output import Output
from cli.session import LimitOption, NamespaceOption, OutputOption, RequestIdOption, Session

app = typer.Typer(
    help="People whose sensitive values are kept: show one, erase one, see who was shown what.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

SubjectArgument = Annotated[
    str, typer.Argument(metavar="SUBJECT", help="Who it is, as events name them.")
]


@app.command()
def show(
    context: typer.Context,
    subject: SubjectArgument,
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Show how many values are kept of a person, since when, and what was erased."""
    session = Session(context, namespace=namespace, output=output)
    _show(session.output, session.ask(lambda clients: clients.subjects.get(subject)))


@app.command()
def erase(
    context: typer.Context,
    subject: SubjectArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it is done.")] = False,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Destroy the key of a person: nobody reads the values any more, ever. It is recorded."""
    session = Session(context, namespace=namespace, output=output)
    asks = not (yes or session.output.json) and sys.stdin.isatty()
    if asks and not typer.confirm("Nothing brings the values back. Erase them?", err=True):
        raise UsageError("nothing was done")
    done = session.ask(
        lambda clients: clients.subjects.erase(
            subject, reason=reason, request_id=request_id or str(uuid.uuid4())
        )
    )
    if session.output.json:
        session.output.document({**_document(done.subject), "erased": done.erased})
        return
    _show(session.output, done.subject)
    session.output.note("erased just now" if done.erased else "there was nothing left to erase")


@app.command()
def reveals(
    context: typer.Context,
    *,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List who was shown sensitive values and why, the newest first."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(lambda clients: clients.subjects.reveals(limit=limit))
    session.output.rows(
        [
            {
                "revealed_at": documents.instant(one.revealed_at),
                "actor": one.actor,
                "reason": one.reason,
                "values": len(one.blob_ids),
                "blob_ids": list(one.blob_ids),
            }
            for one in found
        ],
        [("REVEALED", "revealed_at"), ("BY", "actor"), ("VALUES", "values"), ("WHY", "reason")],
        none=f"nobody was shown sensitive values of namespace {session.namespace}",
    )


@app.command()
def rewrap(
    context: typer.Context,
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Wrap the keys of all people with the active data key, so that an older one can go."""
    session = Session(context, namespace=namespace, output=output)
    count = session.ask(lambda clients: clients.subjects.rewrap())
    if session.output.json:
        session.output.document({"rewrapped": count})
    else:
        session.output.text(f"{count} keys are wrapped anew; none is left under another data key")


def _show(out: Output, subject: pb.Subject) -> None:
    found = _document(subject)
    if out.json:
        out.document(found)
        return
    out.fields(found, [("subject", "subject_ref")])
    out.rows(
        found["keys"],
        [
            ("SINCE", "created_at"),
            ("VALUES", "values"),
            ("DATA KEY", "data_key"),
            ("ERASED", "erased_at"),
            ("BY", "erased_by"),
            ("WHY", "reason"),
        ],
        none="nothing",
    )


def _document(subject: pb.Subject) -> dict[str, Any]:
    return {
        "subject_ref": subject.subject_ref,
        "keys": [
            {
                "created_at": documents.instant(one.created_at),
                "values": one.values,
                "data_key": one.data_key or None,
                "erased_at": documents.instant(one.erased_at)
                if one.HasField("erased_at")
                else None,
                "erased_by": one.erased_by or None,
                "reason": one.reason or None,
            }
            for one in subject.keys
        ],
    }
