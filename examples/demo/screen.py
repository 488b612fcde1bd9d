"""What the demo prints: short lines with a label each, coloured on a terminal, plain elsewhere."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from cli.output import shown

_UNBOUNDED = 10_000  # columns: what is piped is not wrapped
_WIDTH = 9


class Screen:
    """Prints the demo's steps; safe to use from several threads."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else _UNBOUNDED
        self._console = Console(width=width, highlight=False, markup=False, emoji=False)
        self._step = 0

    def step(self, title: str) -> None:
        """Begin the next part."""
        self._step += 1
        self._console.print()
        self._console.print(Text(f"{self._step}  {title}", style="bold"))

    def line(self, label: str, text: str, *, style: str = "") -> None:
        """Print one thing that happened."""
        line = Text("   ")
        line.append(f"{label:<{_WIDTH}}", style="cyan")
        line.append(" ")
        line.append(shown(text), style=style)
        self._console.print(line, soft_wrap=True)

    def value(self, label: str, document: Any) -> None:
        """Print one JSON value."""
        self.line(label, json.dumps(document, ensure_ascii=False), style="dim")

    def trouble(self, text: str) -> None:
        """Print what went wrong and is being dealt with."""
        self._console.print(Text(f"   ! {shown(text)}", style="bold yellow"), soft_wrap=True)

    def note(self, text: str) -> None:
        """Print an aside."""
        self._console.print(Text(f"   {shown(text)}", style="dim"), soft_wrap=True)

    def done(self, text: str) -> None:
        """Print that it went well."""
        self._console.print()
        self._console.print(Text(shown(text), style="bold green"), soft_wrap=True)

    def failure(self, text: str) -> None:
        """Print that it did not."""
        self._console.print()
        self._console.print(Text(f"demo: {shown(text)}", style="bold red"), soft_wrap=True)
