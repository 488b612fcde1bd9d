"""What a command was called with: options that every command takes, before or after its name."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
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
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")]


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
            raise UsageError("yaml is only for `backbone get ID`; use table or json")
        self.settings: Settings = settings.load(given.env_file)
        self.namespace = given.namespace or self.settings.namespace
        self.output = Output(form)

    def ask(self, work: Callable[[Clients], Awaitable[T]]) -> T:
        """Run `work` with clients of the session's namespace."""

        async def with_clients() -> T:
            async with Clients(self.settings, namespace=self.namespace) as clients:
                return await work(clients)

        return asyncio.run(with_clients())


def read(source: str) -> bytes:
    """Return what is in a file, or on standard input for `-`.

    Raises:
        UsageError: it cannot be read.
    """
    if source == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as exc:
        raise UsageError(f"{source} cannot be read: {exc.strerror}") from exc


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
