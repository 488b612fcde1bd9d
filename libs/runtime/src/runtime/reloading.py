"""What is in files, and is read again when they change: keys and certificates of a running process.

Whatever issues them replaces the files while we run. A replacement that is half way, or that cannot
be used, changes nothing: what was read before stays, and the files are looked at again.
"""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from runtime import logs
from runtime.errors import ConfigurationError

T = TypeVar("T")

_LOOK_S = 1.0
_log = logs.get_logger(__name__)


class Reloaded(Generic[T]):
    """What `read` makes of `paths`, as of at most a second ago; for any thread.

    `name` is what the log calls it.
    """

    def __init__(self, name: str, paths: Sequence[Path], read: Callable[[], T]) -> None:
        """Read them. Raises ConfigurationError when they cannot be used."""
        self._name = name
        self._paths = tuple(paths)
        self._read = read
        self._lock = threading.Lock()
        self._read_of, self._newest = self._look()
        self._look_at = time.monotonic() + _LOOK_S

    def newest(self) -> T:
        """Return what is in the files; the same object if they are unchanged."""
        with self._lock:
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + _LOOK_S
                self._renew()
            return self._newest

    def _renew(self) -> None:
        files = [str(path) for path in self._paths]
        try:
            if _stamps(self._paths) == self._read_of:
                return
            self._read_of, self._newest = self._look()
        except (OSError, ConfigurationError) as exc:
            _log.warning("files_kept", what=self._name, files=files, error=str(exc))
        else:
            _log.info("files_renewed", what=self._name, files=files)

    def _look(self) -> "tuple[_Stamps, T]":
        try:
            before = _stamps(self._paths)
            read = self._read()
            after = _stamps(self._paths)
        except OSError as exc:
            raise ConfigurationError(
                f"{self._name}: {exc.filename} cannot be read: {exc.strerror}"
            ) from exc
        if before != after:
            raise ConfigurationError(f"{self._paths[0]} is being replaced")
        return before, read


_Stamps = tuple[tuple[int, int, int], ...]


def _stamps(paths: Sequence[Path]) -> _Stamps:
    found = (path.stat() for path in paths)
    return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)
