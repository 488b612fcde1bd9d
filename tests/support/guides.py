"""What pages have their readers type, performed on a suite, in the pages' order."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import backbone_command
import pages
from backbone_command import Answer

from devstack import suite as stacks
from devstack.suite import Suite

ROOT = Path(__file__).parents[2]
_PATIENCE = 60.0  # seconds
_LIMIT_S = 120.0
_OF_THE_SHELL = re.compile(r"[$|&;<>*]")


class Terminal:
    """Somebody's terminal in a folder that is as the clone is, on a suite."""

    def __init__(self, suite: Suite, folder: Path) -> None:
        """Work in `folder`, which then has the examples and the environment of the clone."""
        self.folder = folder
        (folder / "examples").symlink_to(ROOT / "examples")
        (folder / ".venv").symlink_to(Path(sys.prefix))
        self.backbone = backbone_command.on(suite, folder=folder)
        programs = Path(sys.executable).parent
        self._environment = {
            **stacks.inherited(),
            **suite.client_environment(),
            "PATH": f"{programs}:{os.environ['PATH']}",
        }

    def call(self, line: str) -> Answer:
        """Type a line, and return what it comes to."""
        if line.startswith("backbone ") and not _OF_THE_SHELL.search(line):
            return self.backbone.ask(*shlex.split(line)[1:])
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)


class Guide:
    """A section of a page: `step` performs its next line, what is `left` was not yet."""

    def __init__(self, terminal: Terminal, page: str, section: str) -> None:
        """Write the files of the section, and begin with its first line."""
        self._terminal = terminal
        self.left: list[str] = []
        for step in pages.steps(ROOT / page, section):
            if isinstance(step, pages.Written):
                (terminal.folder / step.path).write_text(step.text)
            else:
                self.left.append(step.line)
        assert self.left, f"nothing is typed under {section!r} of {page}"

    def step(
        self,
        begins: str,
        *options: str,
        instead: Mapping[str, str] | None = None,
        ends: int = 0,
        until: Callable[[Answer], bool] | None = None,
    ) -> Answer:
        """Perform the next line, which begins so; return what it came to.

        Args:
            begins: Its first words, as the page has them.
            options: What is added to it, so that it ends or can be read.
            instead: What the case at hand has in the place of the page's words.
            ends: The exit code that it has.
            until: It is performed again until this holds of the answer.
        """
        line = self.left.pop(0)
        assert line.startswith(begins), f"{line} is next, not {begins}"
        for word, value in (instead or {}).items():
            assert word in line, f"{line} does not say {word}"
            line = line.replace(word, value)
        line = shlex.join([*shlex.split(line), *options]) if options else line
        deadline = time.monotonic() + _PATIENCE
        answer = self._terminal.call(line)
        while until is not None and not (answer.code == ends and until(answer)):
            assert time.monotonic() < deadline, f"$ {line}\n{answer}"
            answer = self._terminal.call(line)
        assert answer.code == ends, f"$ {line}\n{answer.printed}{answer.said}"
        return answer
