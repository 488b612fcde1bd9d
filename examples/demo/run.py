"""The demo: everything up, two definitions, an event, a due time, and what becomes of them.

    python examples/demo/run.py [--keep] [--state FOLDER]
    python examples/demo/run.py --stack compose

Exit code 0 when all of it was seen, 1 when not, 130 on Ctrl-C. Nothing is left running unless
`--keep` says so. `--stack compose` is for a suite that runs already, and which is left as it is.
"""

import argparse
import asyncio
import os
import queue
import signal
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Never
from urllib.parse import urlencode

from composed import ComposedStack
from local import Stack, StackError
from screen import Screen
from story import Story, WaitError

from cli.errors import CliError
from runtime import logs

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(description="Show Backbone at work.")
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    parser.add_argument("--state", type=Path, default=ROOT / ".backbone", help="default: .backbone")
    parser.add_argument(
        "--stack",
        choices=("local", "compose"),
        default="local",
        help="compose: the suite that `docker compose up --wait` has started, or one at the "
        "addresses in the environment. [default: local]",
    )
    options = parser.parse_args()
    if options.keep and options.stack == "compose":
        parser.error("--keep is for --stack local: what compose has started is left running")
    given = dict(os.environ)
    # Settings of the caller's are of another stack, or are said to the demo again.
    for name in [name for name in os.environ if name.startswith("BACKBONE_")]:
        del os.environ[name]
    signal.signal(signal.SIGTERM, _interrupt)
    logs.setup(service="demo", level="critical")
    composed = given if options.stack == "compose" else None
    return Demo(options.state, keep=options.keep, composed=composed).run()


class Demo:
    """One run of the demo."""

    def __init__(
        self, folder: Path, *, keep: bool, composed: Mapping[str, str] | None = None
    ) -> None:
        """Tell on a stack in `folder`; or, with the environment `composed`, on a running one."""
        self._screen = Screen()
        self._keep = keep
        self._composed = composed is not None
        self._troubles: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stack: Stack | ComposedStack = (
            Stack(folder, tell=self._told) if composed is None else ComposedStack(composed)
        )
        self._up = False

    def run(self) -> int:
        """Tell everything; stop the stack unless it is to be kept."""
        code = 1
        try:
            self._tell()
            code = 0
        except KeyboardInterrupt:
            self._screen.failure("interrupted")
            code = 130
        except (StackError, CliError) as exc:
            self._screen.failure(str(exc))
        except WaitError as exc:
            self._screen.failure(f"{exc}; the last lines of the log of {exc.service}:")
            for line in self._stack.last_lines(exc.service):
                self._screen.note(line)
        finally:
            # A second Ctrl-C must not leave half a stack.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._end(keep=self._keep and code == 0)
        return code

    def _tell(self) -> None:
        screen = self._screen
        began = datetime.now(UTC)
        started = time.monotonic()
        screen.step(
            "The billing database is made, and handlers start, beside the suite that runs"
            if self._composed
            else "PostgreSQL, Redis, Kafka, Temporal and all services start"
        )
        if self._stack.end_earlier():
            screen.note("stopped the stack that was running in the same folder")
        self._stack.start(lambda passed: screen.note(f"still starting ({passed:.0f} s so far)"))
        self._up = True
        screen.line("up", f"after {time.monotonic() - started:.0f} s")
        screen.line("console", f"{self._stack.console} (open it, and watch)")
        if self._stack.temporal_ui:
            screen.line("temporal", f"{self._stack.temporal_ui} (namespace dev)")
        story = Story(
            screen=screen,
            stack=self._stack,
            settings=self._stack.settings(),
            troubles=self._troubles,
            began=began,
        )
        runs = asyncio.run(story.tell())
        crashes = f"crashes survived: {story.crashes}" if story.crashes else "nothing crashed"
        screen.done(
            f"Seen in {time.monotonic() - started:.0f} s: event, due time, decisions, tasks, "
            f"records ({crashes})."
        )
        screen.step("Where to look next")
        for run_id, started_by in zip(runs, ("event", "due time"), strict=True):
            # The page has the whole of it: what came in, what was looked at, decided and done.
            page = f"{self._stack.console}/dev/run?{urlencode({'id': run_id})}"
            screen.line("console", f"{page} (the {started_by})")
        for words in (
            f"run show {runs[0]}",
            "runs",
            "tasks --status open",
            "ticks billing.overdue-invoices",
            "events tail --from-beginning",
        ):
            screen.line("command", f".venv/bin/backbone {words}")
        if self._composed:
            screen.note("export the addresses first: docker-compose.yml says which")
            screen.line("stack", "left running: docker compose ps, docker compose logs router")
        elif self._keep:
            if self._stack.temporal_ui:
                screen.line("temporal", f"{self._stack.temporal_ui}/namespaces/dev/workflows")
            screen.line("stack", "left running: make status, make logs NAME=router, make down")
        else:
            screen.note("for these: make demo KEEP=1 leaves everything running, the console too")
        screen.line("read", "examples/README.md, docs/architecture.md")

    def _end(self, *, keep: bool) -> None:
        if keep:
            self._stack.keep()
            return
        if self._up:
            self._screen.note(f"stopping {'the handlers' if self._composed else 'everything'} …")
        self._stack.stop()

    def _told(self, text: str) -> None:
        """Take an event of the stack: a crash has lines, of which the first and last say most."""
        lines = [line.strip() for line in text.splitlines()]
        if self._up and len(lines) > 1:
            self._screen.trouble(f"{lines[0]}; {lines[-1]}")
            self._troubles.put(lines[0].split()[0])
        else:
            self._screen.note(lines[0])


def _interrupt(_number: int, _frame: FrameType | None) -> Never:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
