"""The token that says who types: from a file or the environment, and never a word of the command.

What is typed stands in the shell's history and in the list of processes, for everybody to read.
"""

import re
from collections.abc import Callable
from pathlib import Path

from cli.errors import UsageError
from cli.settings import Settings

_MAX_BYTES = 16 * 1024
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")  # RFC 6750, 2.1


def source(settings: Settings) -> Callable[[], str] | None:
    """Return what reads the token each time, so that a renewed one is used; None without one.

    What is returned raises UsageError when there is no token where it should be.
    """
    path, token = settings.token_file, settings.token
    if path is not None:
        return lambda: _checked(_read(path), f"{path} (BACKBONE_TOKEN_FILE)")
    if token is not None:
        return lambda: _checked(token.get_secret_value(), "BACKBONE_TOKEN")
    return None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        raise UsageError(
            f"the token in {path} (BACKBONE_TOKEN_FILE) cannot be read: {exc.strerror}"
        ) from exc
    return content.decode("utf-8", "replace")


def _checked(text: str, where: str) -> str:
    token = text.strip()
    if len(token) > _MAX_BYTES or not _TOKEN.fullmatch(token):
        raise UsageError(
            f"{where} holds no token: it is one word of letters, digits and -._~+/=, without "
            "`Bearer` before it"
        )
    return token
