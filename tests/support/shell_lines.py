"""Lines of a shell, taken apart into the programs that they call."""

import re
import shlex
from collections.abc import Iterator

_SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
_VARIABLE = re.compile(r"[A-Za-z_]\w*=")
_REDIRECTION = re.compile(r"[<>]+&?")
_OPERATORS = {"|", "||", "&&", "&", ";"}


def calls(line: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each program that a line calls, those within `$(…)` first.

    Variables before a program, what `env` sets for one, and redirections are left out.

    Raises:
        ValueError: a quotation does not end.
    """
    for inner in _SUBSTITUTION.findall(line):
        yield from calls(inner)
    lexer = shlex.shlex(_SUBSTITUTION.sub("SUBSTITUTED", line), posix=True, punctuation_chars=True)
    lexer.wordchars += "…,{}@%:+$[]^!"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in _OPERATORS:
            yield from _call(words)
            words = []
        else:
            words.append(word)


def _call(words: list[str]) -> Iterator[tuple[str, ...]]:
    kept = iter(words)
    call = []
    for word in kept:
        if _REDIRECTION.fullmatch(word):
            next(kept, None)
        elif call or not (_VARIABLE.match(word) or word in {"env", "SUBSTITUTED"}):
            call.append(word)
    if call:
        yield tuple(call)
