"""`audit`: whether the events are as they were written, and the anchor that proves it later."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from backbone.audit.v1 import audit_pb2
from cli import documents
from cli.audits import Audit
from cli.clients import Clients
from cli.errors import CliError, NotFoundError, UsageError
from cli.outbox import Which
from cli.outboxes import Owner
from cli.session import LimitOption, NamespaceOption, OutputOption, Session
from signing import checkpoints, keyfiles
from signing.checkpoints import CHECKPOINTS
from signing.errors import KeyUnusableError
from signing.keys import Keyring

app = typer.Typer(
    help="Verify that events are as they were written; print checkpoints to keep elsewhere.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

WhichOption = Annotated[Which, typer.Option("--service", help="Whose events.")]

_ANCHOR = re.compile(r"(ledger|registry):([1-9][0-9]{0,18}):([0-9a-f]{64})")


@dataclass(frozen=True)
class Anchor:
    """A checkpoint that was kept elsewhere."""

    owner: Owner
    number: int
    hash: bytes

    @classmethod
    def parse(cls, text: str) -> "Anchor":
        """Read what `audit checkpoint` printed.

        Raises:
            UsageError: it is something else.
        """
        match = _ANCHOR.fullmatch(text)
        if match is None:
            raise UsageError(
                f"--anchor is what `backbone audit checkpoint` prints (ledger:17:9f…), not {text!r}"
            )
        return cls(Owner(match[1]), int(match[2]), bytes.fromhex(match[3]))


@dataclass
class Verified:
    """What a verification of one service's events has looked at and found."""

    owner: Owner
    findings: list[audit_pb2.Finding] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    checkpoints: int = 0
    events: int = 0
    unsealed: int = 0
    streams: int = 0
    last_checkpoint: int = 0
    complete: bool = False

    def add(self, page: audit_pb2.VerifyEventsResponse) -> None:
        """Add what a call has found."""
        self.findings.extend(page.findings)
        self.dropped.extend(one.month[:7] for one in page.dropped_months)
        self.checkpoints += page.checkpoints
        self.events += page.events
        self.unsealed += page.unsealed_events
        self.streams += page.streams
        self.last_checkpoint = page.last_checkpoint
        self.complete = not page.next_page_token

    def summary(self) -> str:
        """Return it in a sentence."""
        dropped = f", dropped by retention: {', '.join(self.dropped)}" if self.dropped else ""
        again = f"--service {self.owner.value} --after {self.last_checkpoint}"
        end = "" if self.complete else f"; not complete: {again} goes on"
        return (
            f"{self.owner.value}: {self.events} events ({self.unsealed} not sealed yet), "
            f"{self.checkpoints} checkpoints up to {self.last_checkpoint}, "
            f"{self.streams} streams{dropped}{end}"
        )


@app.command()
def verify(
    context: typer.Context,
    *,
    service: WhichOption = Which.ALL,
    after: Annotated[
        int,
        typer.Option("--after", metavar="NUMBER", min=0, help="Begin after this checkpoint."),
    ] = 0,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            "--anchor", metavar="ANCHOR", help="What `audit checkpoint` printed; can be repeated."
        ),
    ] = None,
    trusted_keys: Annotated[
        Path | None,
        typer.Option(
            "--trusted-keys",
            metavar="FILE",
            help="Have the newest checkpoint signed by a key in it (`backbone keys trust`).",
        ),
    ] = None,
    limit: LimitOption = 1000,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List every event and checkpoint that is not as it was written; fail if any is not."""
    session = Session(context, namespace=namespace, output=output)
    anchors = [Anchor.parse(text) for text in anchor or ()]
    if after and service is Which.ALL:
        raise UsageError("--after counts the checkpoints of one service: say --service too")
    if absent := {one.owner for one in anchors} - set(service.owners):
        raise UsageError(f"--anchor is of the {absent.pop().value}, which is not verified")
    found = [Verified(owner) for owner in service.owners]
    keyring = None if trusted_keys is None else _keyring(trusted_keys)

    async def work(clients: Clients) -> None:
        for verified in found:
            audit = clients.audit(verified.owner)
            for one in anchors:
                if one.owner is verified.owner:
                    verified.findings += await _anchored(audit, one)
            if keyring is not None:
                # Each checkpoint has the hash of the one before it: this one stands for all.
                verified.findings += await _signed(audit, verified.owner, keyring)
            async for page in audit.verify(after_checkpoint=after):
                verified.add(page)
                if len(verified.findings) >= limit:
                    break

    try:
        session.ask(work)
    except KeyboardInterrupt:
        _tell(session, found)
        raise
    session.output.rows(
        [
            documents.finding(verified.owner, finding)
            for verified in found
            for finding in verified.findings[:limit]
        ],
        [
            ("SERVICE", "service"),
            ("FINDING", "finding"),
            ("CHECKPOINT", "checkpoint"),
            ("POSITION", "position"),
            ("NAMESPACE", "namespace"),
            ("STREAM", "stream"),
            ("VERSION", "stream_version"),
            ("WHAT", "detail"),
        ],
        none="everything is as it was written",
    )
    _tell(session, found)
    if total := sum(len(verified.findings) for verified in found):
        raise CliError(f"not everything is as it was written: {total} findings")


@app.command()
def checkpoint(
    context: typer.Context,
    *,
    service: WhichOption = Which.ALL,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Print the newest checkpoint: its anchor, kept elsewhere, finds what is rewritten later."""
    session = Session(context, namespace=namespace, output=output)

    async def work(clients: Clients) -> Sequence[tuple[Owner, audit_pb2.GetCheckpointResponse]]:
        return [(owner, await clients.audit(owner).checkpoint()) for owner in service.owners]

    session.output.rows(
        [documents.checkpoint(owner, answer) for owner, answer in session.ask(work)],
        [("SERVICE", "service"), ("SEALED", "sealed_at"), ("ANCHOR", "anchor")],
        none="nothing is sealed yet",
    )


async def _anchored(audit: Audit, anchor: Anchor) -> list[audit_pb2.Finding]:
    """Hold a checkpoint to what was kept of it elsewhere."""
    try:
        there = await audit.checkpoint(anchor.number)
    except NotFoundError:
        return [
            audit_pb2.Finding(
                kind=audit_pb2.FINDING_KIND_CHECKPOINT_MISSING,
                checkpoint=anchor.number,
                detail="the checkpoint of the anchor is gone",
            )
        ]
    if there.hash == anchor.hash:
        return []
    return [
        audit_pb2.Finding(
            kind=audit_pb2.FINDING_KIND_CHECKPOINT_ALTERED,
            checkpoint=anchor.number,
            detail="it is not the checkpoint of the anchor: what it covers was rewritten",
        )
    ]


def _keyring(path: Path) -> Keyring:
    try:
        return keyfiles.read_trusted(path)
    except KeyUnusableError as exc:
        raise UsageError(f"--trusted-keys: {exc}") from exc


async def _signed(audit: Audit, owner: Owner, keyring: Keyring) -> list[audit_pb2.Finding]:
    """Hold the newest checkpoint to the keys that are trusted to sign checkpoints."""
    try:
        newest = await audit.checkpoint()
    except NotFoundError:
        return []
    detail = ""
    trusted = keyring.get(CHECKPOINTS, newest.signing_key_id)
    if not newest.signature:
        detail = "the newest checkpoint is not signed"
    elif trusted is None:
        detail = f"the newest checkpoint is signed with {newest.signing_key_id!r}, no trusted key"
    else:
        sealed_at_ms = newest.sealed_at.ToMilliseconds()
        content = checkpoints.signed_content(owner.value, newest.hash)
        if trusted.revoked(time.time_ns() // 1_000_000) or not trusted.in_force(sealed_at_ms):
            detail = f"the key {newest.signing_key_id!r} of the newest checkpoint is not in force"
        elif not trusted.holds(newest.signature, content):
            detail = "the signature of the newest checkpoint is not of it"
    if not detail:
        return []
    return [
        audit_pb2.Finding(
            kind=audit_pb2.FINDING_KIND_CHECKPOINT_ALTERED, checkpoint=newest.number, detail=detail
        )
    ]


def _tell(session: Session, found: Sequence[Verified]) -> None:
    for verified in found:
        session.output.note(verified.summary())
