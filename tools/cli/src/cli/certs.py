"""`certs`: a certificate authority for development, and what it issues.

Elsewhere cert-manager or SPIRE issues the same names; nothing of Backbone depends on who does.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from cli import settings
from cli.errors import CliError, UsageError
from cli.session import OutputOption, Session
from contracts import durations, identifiers
from contracts.roles import Role
from contracts.services import Service
from runtime import authority, identity
from runtime.authority import Authority, AuthorityError, Issued, Request

T = TypeVar("T")

app = typer.Typer(
    help="Make a certificate authority for development, and certificates by it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

FOLDER = settings.STATE_FILE.parent / "certs"
_LONGEST = timedelta(days=90)
_COLUMNS = [
    ("NAME", "name"),
    ("STATE", "state"),
    ("ENDS", "not_after"),
    ("IDENTITY", "uris"),
    ("HOSTS", "hosts"),
]

FolderOption = Annotated[
    Path, typer.Option("--folder", metavar="FOLDER", help="Where its files are.")
]


@app.command()
def init(
    context: typer.Context, *, folder: FolderOption = FOLDER, output: OutputOption = None
) -> None:
    """Make the authority. Whoever has its key can be everybody: it is for development."""
    session = Session(context, namespace=None, output=output)
    made = _told(lambda: Authority.create(folder, now=datetime.now(UTC)))
    session.output.rows(
        [{"certificate": str(made.certificate), "not_after": identifiers.instant(made.not_after)}],
        [("TRUST THIS", "certificate"), ("ENDS", "not_after")],
        none="",
    )


@app.command()
def issue(
    context: typer.Context,
    services: Annotated[
        list[Service] | None,
        typer.Argument(metavar="[SERVICE...]", help="For these services; default: for each."),
    ] = None,
    *,
    member: Annotated[
        list[str] | None,
        typer.Option(
            "--member",
            metavar="NAMESPACE/ROLE/NAME",
            help="For somebody with a role in a namespace instead; repeat it for more roles.",
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="GROUP", help="A group of the member's; can be repeated."),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host", metavar="NAME", help="Where a service answers, beside its name and localhost."
        ),
    ] = None,
    lifetime: Annotated[
        str, typer.Option("--lifetime", metavar="DURATION", help="How long it is valid.")
    ] = "24h",
    trust_domain: Annotated[
        str, typer.Option("--trust-domain", metavar="DOMAIN", help="As BACKBONE_TRUST_DOMAIN.")
    ] = identity.DEFAULT_TRUST_DOMAIN,
    renew: Annotated[
        bool, typer.Option("--renew", help="Also what is valid for a while yet.")
    ] = False,
    folder: FolderOption = FOLDER,
    output: OutputOption = None,
) -> None:
    """Issue certificates: what is missing, and what ends within eight hours.

    A running service takes the new files up by itself.
    """
    session = Session(context, namespace=None, output=output)
    if member and (services or host):
        raise UsageError("a certificate is a service's or a member's: --member goes alone")
    if group and not member:
        raise UsageError("--group is of a member: say --member too")
    valid_for = _lifetime(lifetime)
    requests = (
        [_member(member, group or (), trust_domain=trust_domain)]
        if member
        else [
            authority.service_request(service, hosts=host or (), trust_domain=trust_domain)
            for service in services or list(Service)
        ]
    )

    def work() -> list[Issued]:
        ours = Authority.load(folder)
        now = datetime.now(UTC)
        make = ours.issue if renew else ours.renew
        return [make(request, now=now, lifetime=valid_for) for request in requests]

    _show(session, _told(work))


@app.command()
def show(
    context: typer.Context, *, folder: FolderOption = FOLDER, output: OutputOption = None
) -> None:
    """Show the authority and every certificate; ends with 1 if one of them has ended."""
    session = Session(context, namespace=None, output=output)

    def work() -> list[Issued]:
        ours = Authority.load(folder)
        return [ours.own, *authority.issued(folder)]

    found = _told(work)
    _show(session, found)
    now = datetime.now(UTC)
    if ended := [one.name for one in found if one.not_after <= now]:
        raise CliError(f"ended: {', '.join(ended)}; `backbone certs issue` makes new ones")


def _member(members: Sequence[str], groups: Sequence[str], *, trust_domain: str) -> Request:
    parts = [one.split("/") for one in members]
    if any(len(part) != 3 for part in parts) or len({(p[0], p[2]) for p in parts}) != 1:
        raise UsageError(
            "--member is NAMESPACE/ROLE/NAME, each time of the same namespace and name"
        )
    namespace, _, name = parts[0]
    try:
        roles = [
            identity.member_uri(trust_domain, namespace=namespace, role=Role(role), name=name)
            for _, role, _ in parts
        ]
        joined = [
            identity.group_uri(trust_domain, namespace=namespace, group=one) for one in groups
        ]
    except ValueError as exc:
        known = ", ".join(sorted(set(Role) - {Role.SERVICE}))
        raise UsageError(f"--member {members[0]}: {exc}; the roles are {known}") from exc
    return Request(name=f"{namespace}.{name}", uris=(*roles, *joined))


def _lifetime(text: str) -> timedelta:
    try:
        lifetime = durations.parse(text)
    except ValueError as exc:
        raise UsageError(f"--lifetime: {exc}") from exc
    if not timedelta(0) < lifetime <= _LONGEST:
        raise UsageError(f"--lifetime is at most {_LONGEST.days}d, not {text!r}")
    return lifetime


def _show(session: Session, found: Sequence[Issued]) -> None:
    now = datetime.now(UTC)
    session.output.rows([_document(one, now=now) for one in found], _COLUMNS, none="none")


def _document(one: Issued, *, now: datetime) -> dict[str, Any]:
    state = "valid"
    if one.not_after <= now:
        state = "ended"
    elif one.not_after - now <= authority.RENEW_BEFORE:
        state = "ends soon"
    return {
        "name": one.name,
        "state": state,
        "not_before": identifiers.instant(one.not_before),
        "not_after": identifiers.instant(one.not_after),
        "uris": list(one.uris),
        "hosts": list(one.hosts),
        "certificate": str(one.certificate),
        "private_key": str(one.private_key),
    }


def _told(work: Callable[[], T]) -> T:
    try:
        return work()
    except AuthorityError as exc:
        raise CliError(str(exc)) from exc
