"""Pages of documentation as tests read them: their blocks, and what these have a reader do."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^( *)```(\w*)(.*)$")
_HEADING = re.compile(r"^#+ (.+)$")
_TITLE = re.compile(r'title="([^"]*)"')
_COMMENT = re.compile(r"(^|\s)#( .*)?$")
_PROMPT = "$ "
TYPED = ("console", "sh")
"""Languages of blocks that are typed: `console` has prompts and what is printed, `sh` neither."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: `line` is that of its fence, `section` the heading above it."""

    page: Path
    line: int
    section: str
    language: str
    title: str | None
    text: str


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


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in their order, without the indentation of their fence."""
    section, opened, text = "", None, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if opened is None and fence is not None:
            opened, text = (number, fence), []
        elif opened is not None and line.strip() == "```":
            begun, fence = opened
            title = _TITLE.search(fence[3])
            shown = "".join(f"{one}\n" for one in text)
            yield Block(page, begun, section, fence[2], title[1] if title else None, shown)
            opened = None
        elif opened is not None:
            text.append(line.removeprefix(opened[1][1]))
        elif heading := _HEADING.match(line):
            section = heading[1]
    assert opened is None, f"{page}:{opened[0]}: a block does not end"


def steps(page: Path, section: str | None = None) -> Iterator[Command | Written]:
    """Yield what a page, or a section of it, has its reader do.

    A file is a block whose title is a path; a title of what is typed names another terminal.
    """
    for block in blocks(page):
        if section not in {None, block.section}:
            continue
        if block.language in TYPED:
            yield from commands(block)
        elif block.title is not None:
            yield Written(block.title, block.text)


def commands(block: Block) -> Iterator[Command]:
    """Yield what a block has its reader type, without the comments behind it."""
    elsewhere = block.title is not None
    typed: str | None = None
    shown: list[str] = []
    for line in map(str.strip, block.text.replace("\\\n", " ").splitlines()):
        if block.language == "console" and not line.startswith(_PROMPT):
            shown.append(line)
            continue
        if typed:
            yield Command(typed, tuple(shown), elsewhere=elsewhere)
        typed, shown = _without_comment(line.removeprefix(_PROMPT)), []
    if typed:
        yield Command(typed, tuple(shown), elsewhere=elsewhere)


def _without_comment(line: str) -> str:
    found = _COMMENT.search(line)
    while found is not None:
        before = line[: found.start()]
        # Not within quotes.
        if before.count("'") % 2 == 0 and before.count('"') % 2 == 0:
            return before.rstrip()
        found = _COMMENT.search(line, found.start() + 1)
    return line
