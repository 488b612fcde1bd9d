"""The state folder of one stack: its lock, secrets, ports, logs and what its supervisor wrote."""

import contextlib
import fcntl
import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

from devstack.errors import DevstackError, StackRunningError
from devstack.processes import Identity, alive, identify


class StateFolder:
    """A folder only its user can enter, held by one supervisor at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    def create(self) -> None:
        """Make the folder if it is absent, private in any case.

        Raises:
            DevstackError: It cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)
            self.logs.mkdir(exist_ok=True)
        except OSError as exc:
            message = f"cannot use {self.path} as the state folder: {exc.strerror}"
            raise DevstackError(message) from exc

    @property
    def logs(self) -> Path:
        """The folder of the logs, one file per process."""
        return self.path / "logs"

    def log(self, name: str) -> Path:
        """Return the log file of the process `name`."""
        return self.logs / f"{name}.log"

    def acquire(self) -> None:
        """Hold the folder until `release` or the end of this process.

        Raises:
            StackRunningError: Another supervisor holds it.
        """
        self.create()
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(descriptor)
            holder = self.holder()
            who = f" (pid {holder.pid})" if holder else ""
            message = f"the stack in {self.path} is already running{who}"
            raise StackRunningError(message) from exc
        self._lock = descriptor
        own = identify(os.getpid())
        self.write("supervisor", {"pid": os.getpid(), "began": own.began if own else ""})

    def release(self) -> None:
        """Let the next supervisor have the folder."""
        if self._lock is not None:
            self.remove("supervisor")
            os.close(self._lock)
            self._lock = None

    def holder(self) -> Identity | None:
        """Return the supervisor that holds the folder now, None if none does."""
        document = self.read("supervisor", {})
        if not document:
            return None
        identity = Identity(document["pid"], document["began"])
        return identity if alive(identity) else None

    def secret(self, name: str) -> str:
        """Return the secret `name`, made up when it is first asked for."""
        document = self.read("secrets", {})
        if name not in document:
            document[name] = secrets.token_hex(16)
            self.write("secrets", document)
        return str(document[name])

    def secret_file(self, name: str) -> Path:
        """Return the file of the secret `name`, for who takes secrets from files only."""
        self.write_text(f"{name}.secret", self.secret(name))
        return self.path / f"{name}.secret"

    def read(self, name: str, default: Any) -> Any:
        """Return the document `name`, `default` if there is none."""
        try:
            return json.loads((self.path / f"{name}.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return default

    def write(self, name: str, document: Any) -> None:
        """Replace the document `name` at once, readable by its user only."""
        self.write_text(f"{name}.json", json.dumps(document, indent=1))

    def write_text(self, name: str, text: str) -> None:
        """Replace the file `name` at once, readable by its user only."""
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=self.path)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(temporary).replace(self.path / name)

    def remove(self, name: str) -> None:
        """Remove the document `name`, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / f"{name}.json").unlink()
