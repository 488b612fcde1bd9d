"""The project that `backbone new` makes: files of a template, written all or not at all."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template

from cli.errors import CliError, UsageError
from contracts import identifiers

MAX_NAME = 40
"""Characters: task queues and ids begin with the name, and have limits of their own."""
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TEMPLATE = "project_template"


@dataclass(frozen=True)
class Project:
    """What a new project is called, in which namespace it works, and which team owns it."""

    name: str
    namespace: str
    owner: str

    def __post_init__(self) -> None:
        """Check the names. Raises UsageError: one of them is none."""
        if not _NAME.fullmatch(self.name) or len(self.name) > MAX_NAME:
            raise UsageError(
                f"{self.name!r} is no name for a project: write small letters, digits and single"
                f" hyphens, a letter first, at most {MAX_NAME} characters"
            )
        for option, value, pattern in (
            ("--namespace", self.namespace, identifiers.NAMESPACE_PATTERN),
            ("--owner", self.owner, identifiers.NAME_PATTERN),
        ):
            if re.fullmatch(pattern, value) is None or len(value) > 63:
                raise UsageError(f"{option} is a name such as billing, not {value!r}")

    def rendered(self) -> Iterator[tuple[PurePosixPath, str]]:
        """Yield each file's path below the project's folder, and its text."""
        names = {"name": self.name, "namespace": self.namespace, "owner": self.owner}
        for path, file in _template(files("cli") / _TEMPLATE, PurePosixPath()):
            yield path, Template(file.read_text(encoding="utf-8")).substitute(names)

    def write(self, folder: Path) -> list[Path]:
        """Write the project into a folder that is absent or empty; return its files, sorted.

        Raises:
            CliError: the folder holds something, or cannot be written.
        """
        try:
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise CliError(f"{folder} is there and not empty: choose another folder")
            folder.parent.mkdir(parents=True, exist_ok=True)
            # Beside it and renamed: who is interrupted has no half of a project.
            made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            try:
                for path, text in self.rendered():
                    (made / path).parent.mkdir(parents=True, exist_ok=True)
                    (made / path).write_text(text, encoding="utf-8")
                made.chmod(0o755)  # what is made for a moment is private
                made.rename(folder)
            except BaseException:
                shutil.rmtree(made, ignore_errors=True)
                raise
        except OSError as exc:
            raise CliError(f"{folder} cannot be written: {exc.strerror}") from exc
        return sorted(path for path in folder.rglob("*") if path.is_file())


def _template(
    folder: Traversable, below: PurePosixPath
) -> Iterator[tuple[PurePosixPath, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _template(entry, below / entry.name)
        else:
            # So that nobody takes a template for a module or a test of ours.
            yield below / entry.name.removesuffix(".template"), entry
