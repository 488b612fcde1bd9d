"""The keys with which a stack encrypts at rest: one file, made once."""

from pathlib import Path

from devstack.errors import DevstackError
from runtime import datakeys
from runtime.datakeys import DataKeyUnusableError, KeyDocument

FILE = "data-keys.json"


def bring(folder: Path) -> Path:
    """Make the ring of data keys where there is none; return its file.

    Raises:
        DevstackError: A file is there that is no ring, or that others can read.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / FILE
    try:
        if not path.exists():
            key = datakeys.generate()
            datakeys.write_document(path, KeyDocument(active="1", keys={"1": key}))
        datakeys.read_document(path)
    except DataKeyUnusableError as exc:
        message = f"{exc}; what it encrypted is lost without it: restore it, or begin anew"
        raise DevstackError(message) from exc
    return path
