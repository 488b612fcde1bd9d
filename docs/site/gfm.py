"""Makes of the Markdown that pages are written in (GitHub's) what Python-Markdown reads alike.

Three things differ that our pages have: what belongs to an item of a list is indented by the width
of its mark, not by four; a list may follow a paragraph without an empty line; so may a table.
"""

import re
from collections.abc import Iterator

_ITEM = re.compile(r"^( *)([-*]|\d+\.)( +)\S")
_FENCE = re.compile(r"^ *(```+|~~~+)")


def adapted(markdown: str) -> str:
    """Return the same page as Python-Markdown reads it."""
    return "\n".join(_lines(markdown.split("\n")))


def _lines(lines: list[str]) -> Iterator[str]:
    depths: list[int] = []  # where the text of each item that is open begins
    fence: str | None = None
    before = ""
    for line in lines:
        opened = _FENCE.match(line)
        if fence is not None:
            yield _moved(line, depths)
            if opened and opened[1].startswith(fence):
                fence = None
            before = line
            continue
        item = _ITEM.match(line)
        indent = len(line) - len(line.lstrip(" "))
        if line.strip():
            while depths and indent < depths[-1]:
                # Text that goes on without its indentation still belongs to the item before.
                if not item and before.strip() and not opened:
                    break
                depths.pop()
        begins_list = item is not None and not depths and not _ITEM.match(before)
        begins_table = line.startswith("|") and not before.startswith("|")
        if (begins_list or begins_table) and before.strip() and not depths:
            yield ""
        yield _moved(line, depths)
        if item:
            depths.append(item.end(3))
        if opened:
            fence = opened[1]
        before = line


def _moved(line: str, depths: list[int]) -> str:
    stripped = line.lstrip(" ")
    if not depths or not stripped or len(line) - len(stripped) < depths[-1]:
        return line
    return " " * (4 * len(depths)) + line[depths[-1] :]
