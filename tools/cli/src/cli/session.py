"""What a command was called with: options that every command takes, before or after its name."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import typer

from cli import settings
from cli.clients import Clients
from cli.errors import UsageError
from cli.output import Format, Output
from cli.settings import Settings
from contracts import strictjson
from contracts.rejections import EventRejectedError

T = TypeVar("T")

NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NAME", help="Default: BACKBONE_NAMESPACE, or dev."),
]
OutputOption = Annotated[
    Format | None,
    typer.Option("--output", "-o", help="Default: table. json: a document, or a line per item."),
]
EnvFileOption = Annotated[
    Path | None,
    typer.Option(
        "--env-file",
        metavar="FILE",
        help="Addresses; default: the nearest .backbone/env upwards. The environment goes first.",
    ),
]
DefinitionOption = Annotated[
    str, typer.Option("--definition", metavar="ID", help="Only of this one.")
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; the history keeps it.")
]
EtagOption = Annotated[
    str,
    typer.Option("--etag", metavar="ETAG", help="Only if it is still what you looked at."),
]
RequestIdOption = Annotated[
    str | None,
    typer.Option("--request-id", help="The same again is the same request; default: a new one."),
]


@dataclass(frozen=True)
class Globals:
    """The options that stood before the command's name."""

    namespace: str | None
    output: Format | None
    env_file: Path | None

    def overridden(self, *, namespace: str | None, output: Format | None) -> Self:
        """Return these with what a later option says instead."""
        return replace(self, namespace=namespace or self.namespace, output=output or self.output)


class Session:
    """Settings, output and clients of one command."""

    def __init__(
        self,
        context: typer.Context,
        *,
        namespace: str | None,
        output: Format | None,
        yaml: bool = False,
    ) -> None:
        """Combine the options before the command's name with those after it.

        Raises:
            UsageError: a setting is wrong, or YAML is asked for where there is none (`yaml`).
        """
        given: Globals = context.find_root().obj
        given = given.overridden(namespace=namespace, output=output)
        form = given.output or Format.TABLE
        if form is Format.YAML and not yaml:
            raise UsageError(
                "yaml is only for `backbone get ID` and `backbone doctor`; use table or json"
            )
        self.settings: Settings = settings.load(given.env_file)
        self.namespace_option = given.namespace
        self.namespace = given.namespace or self.settings.namespace
        self.output = Output(form)

    @property
    def chosen_namespace(self) -> str | None:
        """The namespace that an option or a setting names; None when it is only the default."""
        set_ = "namespace" in self.settings.model_fields_set
        return self.namespace if self.namespace_option or set_ else None

    def ask(self, work: Callable[[Clients], Awaitable[T]]) -> T:
        """Run `work` with clients of the session's namespace."""

        async def with_clients() -> T:
            async with Clients(self.settings, namespace=self.namespace) as clients:
                return await work(clients)

        return asyncio.run(with_clients())


def read(source: str, *, limit: int = -1) -> bytes:
    """Return what is in a file, or on standard input for `-`; no more than `limit` bytes of it.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        if source == "-":
            return sys.stdin.buffer.read(limit)
        with Path(source).open("rb") as file:
            return file.read(limit)
    except OSError as exc:
        raise UsageError(f"{source} cannot be read: {exc.strerror}") from exc


def moment_option(name: str, text: str) -> datetime:
    """Return the time that an option says.

    Raises:
        UsageError: it is not RFC 3339, or it says no zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UsageError(
            f"{name} is a time with its zone, such as 2026-03-02T12:00:00Z, not {text!r}"
        )
    return moment


def json_option(name: str, text: str) -> bytes:
    """Return the bytes of an option that holds JSON.

    Raises:
        UsageError: it is not JSON.
    """
    content = text.encode()
    try:
        document: Any = strictjson.parse(content)
    except EventRejectedError as exc:
        raise UsageError(f"{name} is not JSON: {exc.detail}") from exc
    return json.dumps(document, ensure_ascii=False).encode()
