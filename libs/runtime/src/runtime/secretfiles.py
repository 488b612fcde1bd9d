"""Secrets in files: read when they are needed, and named by their file in whatever is said of them.

A file that is mounted can be replaced while we run, is in no dump of an environment, and is
inherited by no child. What a store (Vault, a KMS) holds comes as a file too: see docs/secrets.md.
"""

from collections.abc import Callable
from pathlib import Path

from runtime.errors import SecretUnreadableError

MAX_FILE_BYTES = 64 * 1024


def read(path: Path) -> str:
    """Return what a file holds, without the blanks around it.

    Raises:
        SecretUnreadableError: it cannot be read, is empty, too large or no UTF-8. The message holds
            nothing of the file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise SecretUnreadableError(f"{path} cannot be read: {exc.strerror}") from exc
    if len(content) > MAX_FILE_BYTES:
        raise SecretUnreadableError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    try:
        found = content.decode().strip()
    except UnicodeDecodeError:
        # Its cause would hold the secret.
        raise SecretUnreadableError(f"{path} is not UTF-8") from None
    if not found:
        raise SecretUnreadableError(f"{path} is empty")
    return found


def reader(path: Path | None) -> Callable[[], str] | None:
    """Return what reads a file each time it is called, having read it once; None without a file.

    Raises:
        SecretUnreadableError: as `read`; what is returned raises it, too.
    """
    if path is None:
        return None
    read(path)
    return lambda: read(path)
