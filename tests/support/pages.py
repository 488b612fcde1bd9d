"""Pages of docs/ as tests perform them: their commands and files, as they are written, in order."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^ *```(\w*)([^\n]*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r'title="([^"]*)"')
_PROMPT = "$ "


@dataclass(frozen=True)
class Command:
    """What is typed at a prompt, and the lines that the page shows after it."""

    line: str
    shown: tuple[str, ...]
    elsewhere: bool  # in another terminal, where it goes on


@dataclass(frozen=True)
class Written:
    """A file that the page has its reader write."""

    path: str
    text: str


def steps(page: Path) -> Iterator[Command | Written]:
    """Yield what a page has its reader do: files are blocks whose title is a path."""
    for language, words, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        title = _TITLE.search(words)
        if language in {"", "console"}:
            yield from _commands(text, elsewhere=title is not None)
        elif title is not None:
            yield Written(title[1], text)


def _commands(text: str, *, elsewhere: bool) -> Iterator[Command]:
    lines = [line.strip() for line in text.splitlines()]
    if not any(line.startswith(_PROMPT) for line in lines):
        # A block without prompts is commands alone.
        yield from (Command(line, (), elsewhere=elsewhere) for line in lines if line)
        return
    typed: str | None = None
    shown: list[str] = []
    for line in lines:
        if not line.startswith(_PROMPT):
            shown.append(line)
            continue
        if typed is not None:
            yield Command(typed, tuple(shown), elsewhere=elsewhere)
        typed, shown = line.removeprefix(_PROMPT), []
    if typed is not None:
        yield Command(typed, tuple(shown), elsewhere=elsewhere)
