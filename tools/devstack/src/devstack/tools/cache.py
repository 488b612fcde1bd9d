"""The cache of installed programs: complete or absent, however an installation ended.

An entry is made in a folder beside it and renamed into place, under a file lock, so that two
installations at once do the work once and one that was killed leaves nothing that counts.
"""

import contextlib
import fcntl
import os
import pwd
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from devstack.errors import DevstackError

_TICK = 15.0  # seconds between two signs of life of a long installation


def home() -> Path:
    """Return the user's home folder, also where HOME is empty."""
    if value := os.environ.get("HOME"):
        return Path(value)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path(tempfile.gettempdir()) / f"backbone-home-{os.getuid()}"


def directory() -> Path:
    """Return the cache's folder: $BACKBONE_CACHE, else the user's cache folder."""
    if value := os.environ.get("BACKBONE_CACHE"):
        return Path(value).absolute()
    if value := os.environ.get("XDG_CACHE_HOME"):
        return Path(value).absolute() / "backbone"
    return home() / ".cache" / "backbone"


def installed(name: str, install: Callable[[Path], object], *, what: str, usual: str) -> Path:
    """Return the folder of the cache entry `name`, installing it first when it is absent.

    Args:
        name: The entry, with the version in it.
        install: Fills the empty folder it is given; raises when it cannot.
        what: What is being installed, for the progress line.
        usual: How long it usually takes, for the progress line.

    Raises:
        DevstackError: The cache's folder cannot be written.
    """
    root = directory()
    entry = root / name
    if entry.is_dir():
        return entry
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / f".{name}.lock").open("w")
    except OSError as exc:
        message = f"cannot write to {root} ({exc.strerror}); set BACKBONE_CACHE to another folder"
        raise DevstackError(message) from exc
    with lock, _locked(lock.fileno(), what):
        if entry.is_dir():
            return entry
        # Whoever holds the lock may clear what a killed installation left behind.
        for leftover in root.glob(f".{name}.tmp-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}.tmp-", dir=root))
        try:
            with progress(what, usual):
                install(temporary)
            # Servers may run as another user.
            temporary.chmod(0o755)
            temporary.rename(entry)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return entry


@contextlib.contextmanager
def progress(what: str, usual: str) -> Iterator[None]:
    """Tell on standard error what is going on, how long it usually takes and that it goes on."""
    started = time.monotonic()
    done = threading.Event()

    def say(text: str) -> None:
        print(f"devstack: {text}", file=sys.stderr, flush=True)  # noqa: T201 - progress is for people

    def tick() -> None:
        while not done.wait(_TICK):
            say(f"{what}: {time.monotonic() - started:.0f} s so far (usually {usual})")

    say(f"{what} (usually {usual})")
    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
        say(f"{what}: done in {time.monotonic() - started:.0f} s")
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def _locked(descriptor: int, what: str) -> Iterator[None]:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with progress(f"waiting for another process: {what}", "as long as that takes"):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
