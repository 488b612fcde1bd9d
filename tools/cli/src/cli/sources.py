"""The documents that a command is given: files, folders and standard input, read before sending."""

from collections.abc import Iterator, Sequence
from os import fsencode
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CliError, UsageError
from cli.registry import Source
from cli.session import read

MAX_DOCUMENT_BYTES = 256 * 1024
MAX_DOCUMENTS = 1000
# What the registry takes in one message is 4 MiB, names and the rest of the request included.
MAX_SET_BYTES = 3584 * 1024

# What is not in the part would be pruned.
_PARTS = "apply them in parts, event types before what needs them, and without --prune"
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})

FilesOption = Annotated[
    list[str],
    typer.Option(
        "-f",
        "--file",
        metavar="FILE|DIR|-",
        help="May be given several times; all of them together are one set.",
    ),
]


class UnreadableSourcesError(CliError):
    """Some of the documents cannot be sent; `problems` has the name of each, and why."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("some files cannot be sent")
        self.problems = list(problems)


def load(files: Sequence[str]) -> list[Source]:
    """Read the documents that `files` stand for; one that is given twice comes once.

    Raises:
        UsageError: something is not there, or a folder holds no document.
        UnreadableSourcesError: files cannot be read, or are larger than a document may be.
        CliError: there are more of them, or they are larger together, than one apply takes.
    """
    sources: list[Source] = []
    problems: list[tuple[str, str]] = []
    for path in expand(files):
        name = _shown_name(path)
        try:
            content = read(path, limit=MAX_DOCUMENT_BYTES + 1)
        except UsageError as exc:
            problems.append((name, str(exc).removeprefix(f"{path} ")))
            continue
        if len(content) > MAX_DOCUMENT_BYTES:
            problems.append((name, "a document has at most 256 KiB, and this has more"))
        sources.append(Source(name, content))
    if problems:
        raise UnreadableSourcesError(problems)
    if len(sources) > MAX_DOCUMENTS:
        raise CliError(
            f"these are {len(sources)} documents, and one apply takes {MAX_DOCUMENTS}: {_PARTS}"
        )
    size = sum(len(source.content) for source in sources)
    if size > MAX_SET_BYTES:
        raise CliError(
            f"the documents have {size / 1024 / 1024:.1f} MiB together, and one apply takes "
            f"{MAX_SET_BYTES / 1024 / 1024:.1f} MiB: {_PARTS}"
        )
    return sources


def expand(files: Sequence[str]) -> list[str]:
    """Return the files that are meant: a folder stands for the documents below it, sorted.

    Hidden files and folders (.git, .github) are left out; name one to have it.

    Raises:
        UsageError: something is not there, or a folder holds no document.
    """
    found: dict[Path | str, str] = {}
    for name in files:
        if name == "-":
            found.setdefault(name, name)
            continue
        try:
            for path in _meant(name):
                found.setdefault(path.resolve(), str(path))
        except OSError as exc:
            raise UsageError(f"{name} cannot be looked at: {exc.strerror}") from exc
    return list(found.values())


def _meant(name: str) -> list[Path]:
    path = Path(name)
    if not path.is_dir():
        if not path.exists():
            raise UsageError(f"there is no file or folder {name}")
        return [path]
    below = sorted(_below(path))
    if not below:
        raise UsageError(f"the folder {name} holds no .yaml, .yml or .json file")
    return below


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in _SUFFIXES and not hidden and path.is_file():
            yield path


def _shown_name(path: str) -> str:
    """Return a name that fits into a message: a file's name need not be UTF-8."""
    return "<stdin>" if path == "-" else fsencode(path).decode(errors="replace")
