"""What lies outside of docs/ and is linked from a page: it becomes a page of the site.

A site has to stand alone, without an address of a repository. A Markdown file of the clone is a
page like any other; of another file its text is shown, and of a folder what is in it.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "source"
"""The folder of the site in which these pages stand."""

_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_FENCED = re.compile(r"^( *)(```+).*?^\1\2 *$", re.DOTALL | re.MULTILINE)
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".sql": "sql"}


class Missing(Exception):  # noqa: N818 - what is told is that it is missing
    """A page links to what the clone does not have."""


def place(target: PurePosixPath) -> str:
    """Return where in docs/ the page of a file of the clone stands."""
    path = target.as_posix()
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if (ROOT / path).is_dir():
        readme = ROOT / path / "README.md"
        return f"{PREFIX}/{path}/{'README.md' if readme.is_file() else 'contents.md'}"
    return f"{PREFIX}/{path}" if path.endswith(".md") else f"{PREFIX}/{path}.md"


def origin(page: str) -> PurePosixPath:
    """Return the file of the clone, whether it is there or not, of a page at a place in docs/."""
    if page.startswith(f"{PREFIX}/"):
        return PurePosixPath(page.removeprefix(f"{PREFIX}/"))
    return PurePosixPath("docs") / page


def linked(markdown: str, page: str) -> Iterator[PurePosixPath]:
    """Yield what a page links to, as paths of the clone.

    Raises:
        Missing: there is no such file.
    """
    for target in (one for text in _prose(markdown) for one in _LINK.findall(text)):
        path = _path(target, page)
        if path is not None:
            # What is missing below docs/ is told by MkDocs, with all else of the kind.
            if not (ROOT / path).exists() and not path.is_relative_to("docs"):
                message = f"{origin(page)} links to {target}, which is not there"
                raise Missing(message)
            yield path


def mapped(markdown: str, page: str) -> str:
    """Return the page with its links as they are in the site."""

    def moved(match: re.Match[str]) -> str:
        path = _path(match[0], page)
        if path is None:
            return match[0]
        anchor = match[0].partition("#")[2] if path.suffix == ".md" else ""
        there = posixpath.relpath(place(path), posixpath.dirname(page) or ".")
        return f"{there}#{anchor}" if anchor else there

    return _outside_fences(markdown, lambda text: _LINK.sub(moved, text))


def text(path: PurePosixPath) -> str:
    """Return the Markdown of the page of a file or folder of the clone."""
    file = ROOT / path
    if file.is_dir():
        if (file / "README.md").is_file():
            return (file / "README.md").read_text(encoding="utf-8")
        names = sorted(one.name for one in file.iterdir() if not one.name.startswith(("_", ".")))
        return "\n".join([f"# {path}\n", *(f"* `{name}`" for name in names), ""])
    shown = file.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return shown
    language = _LANGUAGES.get(path.suffix, "text")
    return f"# {path.name}\n\n`{path}`\n\n~~~~{language}\n{shown}\n~~~~\n"


def _path(target: str, page: str) -> PurePosixPath | None:
    path = target.partition("#")[0]
    if not path or re.match(r"[a-z]+:", target):
        return None
    return PurePosixPath(posixpath.normpath(posixpath.join(origin(page).parent.as_posix(), path)))


def _prose(markdown: str) -> list[str]:
    found: list[str] = []

    def kept(text: str) -> str:
        found.append(text)
        return text

    _outside_fences(markdown, kept)
    return found


def _outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    parts, at = [], 0
    for block in _FENCED.finditer(markdown):
        parts += [change(markdown[at : block.start()]), block[0]]
        at = block.end()
    return "".join([*parts, change(markdown[at:])])
