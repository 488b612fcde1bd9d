"""`keys`: pairs that events are signed with, and the public ones as the registry and readers trust.

A private key is made into a file of its owner's and goes nowhere else.
"""

import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from backbone.registry.v1 import registry_pb2
from cli import applying, data_keys, documents, plans
from cli.errors import CliError, UsageError
from cli.kinds import Kind
from cli.registry import Change, Source
from cli.session import (
    NamespaceOption,
    OutputOption,
    ReasonOption,
    RequestIdOption,
    Session,
    moment_option,
    read,
)
from contracts import identifiers
from contracts.producers import ProducerKey
from signing import keyfiles
from signing.errors import KeyUnusableError
from signing.keyfiles import TrustedKeys
from signing.keys import SigningKey

app = typer.Typer(help="Keys that events are signed with.", rich_markup_mode=None)
app.add_typer(data_keys.app, name="data")

_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_PUBLIC_BYTES = 4096
_COLUMNS = [
    ("KEY", "id"),
    ("PUBLIC KEY", "publicKey"),
    ("FROM", "notBefore"),
    ("UNTIL", "notAfter"),
    ("REVOKED", "revokedAt"),
]

ProducerArgument = Annotated[str, typer.Argument(metavar="PRODUCER")]
Keys = list[dict[str, Any]]


@app.callback()
def group() -> None:
    """Keys that events are signed with."""


@app.command()
def new(
    context: typer.Context,
    signer: Annotated[
        str, typer.Argument(help="The producer's id; or registry, ledger or checkpoints.")
    ],
    key_id: Annotated[str, typer.Argument(help="Unique for the signer: 2026-11.")],
    *,
    directory: Annotated[
        Path, typer.Option("--directory", "-d", help="Where the two files are written.")
    ] = Path(),
    output: OutputOption = None,
) -> None:
    """Make a pair of keys: SIGNER.KEY.key is secret and its owner's, SIGNER.KEY.pub.json is not."""
    session = Session(context, namespace=None, output=output)
    if not re.fullmatch(identifiers.NAME_PATTERN, signer) or len(signer) > 63:
        raise UsageError(f"{signer!r} is no signer: lower-case letters, digits, '-' and '_'")
    if not _KEY_ID.fullmatch(key_id):
        raise UsageError(f"{key_id!r} is no key id: letters, digits, '.', '-' and '_'")
    key = SigningKey.generate(signer=signer, key_id=key_id)
    private = directory / f"{signer}.{key_id}.key"
    public = directory / f"{signer}.{key_id}.pub.json"
    if public.exists():
        raise CliError(f"{public} is there already: a key is never overwritten")
    told = {"signer": signer, "id": key_id, "publicKey": key.public_key}
    try:
        keyfiles.write_private(private, key)
        public.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    except (KeyUnusableError, OSError) as exc:
        raise CliError(str(exc)) from exc
    out = session.output
    if out.json:
        out.document(told | {"private_file": str(private), "public_file": str(public)})
        return
    out.fields(
        told | {"private": private, "public": public},
        [("key", "id"), ("public key", "publicKey"), ("secret", "private"), ("public", "public")],
    )
    out.note(f"`backbone keys register {signer} {public}` has what it signs taken")


@app.command("list")
def list_keys(
    context: typer.Context,
    producer: ProducerArgument,
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List the keys of a producer, as the registry has them."""
    session = Session(context, namespace=namespace, output=output)
    _, content = _producer(session, producer)
    session.output.rows(
        content["spec"].get("keys", []), _COLUMNS, none=f"the producer {producer} has no keys"
    )


@app.command()
def register(
    context: typer.Context,
    producer: ProducerArgument,
    public_file: Annotated[str, typer.Argument(metavar="FILE", help="SIGNER.KEY.pub.json.")],
    *,
    others_until: Annotated[
        str | None,
        typer.Option(
            "--others-until",
            metavar="TIME",
            help="The producer's other keys sign until then: what comes late is still taken.",
        ),
    ] = None,
    required: Annotated[
        bool, typer.Option("--required", help="From now on refuse what is not signed.")
    ] = False,
    reason: ReasonOption = "a key was registered with the command line",
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Add a public key to a producer: what it signs is taken."""
    session = Session(context, namespace=namespace, output=output)
    signer, key = _public(public_file)
    if signer != producer:
        raise UsageError(
            f"{public_file} holds a key of {signer!r}: a signature says whose it is, so that it is "
            f"of no use for {producer!r}"
        )
    until = None if others_until is None else moment_option("--others-until", others_until)

    def change(spec: dict[str, Any]) -> None:
        keys: Keys = spec.setdefault("keys", [])
        if any(one["id"] == key["id"] for one in keys):
            raise CliError(f"the producer {producer} has a key {key['id']!r} already")
        if until is not None:
            for one in keys:
                end = identifiers.instant(until)
                one["notAfter"] = min(one.get("notAfter", end), end)
        keys.append(key)
        if required:
            spec["signatures"] = "required"

    _edit(session, producer, change, reason=reason, request_id=request_id)


@app.command()
def revoke(
    context: typer.Context,
    producer: ProducerArgument,
    key_id: Annotated[str, typer.Argument(metavar="KEY")],
    *,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; the history keeps it.")
    ],
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Take nothing any more that a key ever signed, within seconds."""
    session = Session(context, namespace=namespace, output=output)

    def change(spec: dict[str, Any]) -> None:
        found = [one for one in spec.get("keys", []) if one["id"] == key_id]
        if not found:
            raise CliError(f"the producer {producer} has no key {key_id!r}")
        found[0].setdefault("revokedAt", identifiers.instant(datetime.now(UTC)))

    _edit(session, producer, change, reason=reason, request_id=request_id)


@app.command()
def trust(
    public_files: Annotated[
        list[str], typer.Argument(metavar="FILE…", help="SIGNER.KEY.pub.json, old ones too.")
    ],
) -> None:
    """Print the document of the services' keys, for BACKBONE_TRUSTED_KEYS."""
    keys: dict[str, Keys] = {}
    for file in public_files:
        signer, key = _public(file)
        keys.setdefault(signer, []).append(key)
    try:
        TrustedKeys.model_validate({"keys": keys})
    except ValidationError as exc:
        raise UsageError("; ".join(error["msg"] for error in exc.errors())) from exc
    typer.echo(json.dumps({"keys": keys}, indent=2))


def _public(file: str) -> tuple[str, dict[str, Any]]:
    """Return the signer and the key in a public file."""
    content = read(file, limit=_MAX_PUBLIC_BYTES)
    try:
        document = json.loads(content)
        signer = document.pop("signer")
        key = ProducerKey.model_validate(document)
        TrustedKeys.model_validate({"keys": {signer: [key]}})
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise UsageError(
            f"{file} is no public key: give the .pub.json that `backbone keys new` wrote"
        ) from exc
    return signer, key.model_dump(by_alias=True, exclude_none=True, mode="json")


def _producer(session: Session, producer: str) -> tuple[registry_pb2.Resource, dict[str, Any]]:
    found = session.ask(lambda clients: clients.registry.resource(Kind.PRODUCER, producer))
    content = documents.document(found.content)
    if not isinstance(content, dict):
        raise CliError(f"the producer {producer} cannot be read")
    return found, content


def _edit(
    session: Session,
    producer: str,
    change: Callable[[dict[str, Any]], None],
    *,
    reason: str,
    request_id: str | None,
) -> None:
    """Change a producer as it is now, or nothing when somebody else does meanwhile."""
    found, content = _producer(session, producer)
    change(content["spec"])
    source = Source(f"producer {producer}", json.dumps(content).encode())
    asked = Change([source], namespace=session.namespace, etag=found.etag)
    plan = applying.planned(session, asked, reason=reason, otherwise="nothing was changed")
    if plans.changes(plan):
        plan = applying.carried_out(
            session,
            asked,
            plan_sha256=plan.plan_sha256,
            request_id=request_id or str(uuid.uuid4()),
            reason=reason,
        )
    done = plans.as_document(plan, applied=True)
    if session.output.json:
        session.output.document(done)
    else:
        plans.show(session.output, done["results"])
        session.output.text(plans.summary(done["results"], applied=True), style="bold")
