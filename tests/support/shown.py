"""What a page shows, held against what came: the same words, but for ids, times and names.

An id or a time of the page stands for one that came. It stands for the same one from then on, in
what is shown and in what is typed. `…` is what a page leaves out: within a line, or whole lines.
"""

import re
from collections.abc import Sequence

_TOKEN = re.compile(
    r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"|(?P<plan>[0-9a-f]{64})"
    r"|(?P<replay>\b[0-9a-f]{12}\b)"
    r"|(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)"
    r"|(?<=:event:)(?P<event>[a-z2-7]{26})"
    r"|(?P<person>\blocal/\w+)"
)
_COMES_AS = {
    "uuid": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "plan": r"[0-9a-f]{64}",
    "replay": r"[0-9a-f]{12}",
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z",
    "event": r"[a-z2-7]{26}",
    "person": r"local/[\w.-]+",
}
_LEFT_OUT = "…"


class Shown:
    """What ids and times of pages stand for, as far as it is known."""

    def __init__(self) -> None:
        self._stands_for: dict[str, str] = {}

    def typed(self, line: str) -> str:
        """Return a line of a page as it is typed here.

        Times of a command are the reader's own: only those that a page has shown stand for one.
        """
        return _TOKEN.sub(lambda token: self._stands_for.get(token[0], token[0]), line)

    def came(self, shown: Sequence[str], printed: str) -> bool:
        """Say whether that was printed which a page shows, and learn what its ids stand for."""
        names: dict[str, str] = {}
        pattern = "".join(self._line(line, names) for line in shown)
        lines = [" ".join(line.split()) for line in printed.splitlines()]
        found = re.fullmatch(pattern, "".join(f"{line}\n" for line in lines if line))
        if found is not None:
            self._stands_for |= {token: found[name] for token, name in names.items()}
        return found is not None

    def _line(self, line: str, names: dict[str, str]) -> str:
        words = " ".join(line.split())
        if not words:
            return ""
        if words == _LEFT_OUT:
            return r"(?:.*\n)*?"
        parts, at = [], 0
        for token in _TOKEN.finditer(words):
            parts += [_text(words[at : token.start()]), self._token(token, names)]
            at = token.end()
        return "".join([*parts, _text(words[at:]), r"\n"])

    def _token(self, token: re.Match[str], names: dict[str, str]) -> str:
        if known := self._stands_for.get(token[0]):
            return re.escape(known)
        if name := names.get(token[0]):
            return f"(?P={name})"
        names[token[0]] = f"t{len(names)}"
        assert token.lastgroup is not None
        return f"(?P<{names[token[0]]}>{_COMES_AS[token.lastgroup]})"


def _text(words: str) -> str:
    return r"[^\n]*?".join(re.escape(part) for part in words.split(_LEFT_OUT))
