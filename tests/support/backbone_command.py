"""The `backbone` command on a suite: each call is a process, whose imports were made before.

To import the command takes a second of a processor, and tests ask thousands of questions. What a
call does is the program's: arguments, environment, files for what it prints, and an exit code.
"""

import json
import multiprocessing
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked_command

from cli import commands
from devstack.suite import Suite

_TIMEOUT_S = 60.0
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["cli.__main__", *(f"cli.{where.partition('.')[0]}" for where in commands.NAMED.values())]
)


@dataclass(frozen=True)
class Answer:
    """What a call came to: its exit code, its standard output and its standard error."""

    code: int
    printed: str
    said: str

    @property
    def document(self) -> Any:
        """The JSON document that it printed."""
        return json.loads(self.printed)

    @property
    def lines(self) -> list[Any]:
        """The JSON documents that it printed, one a line."""
        return [json.loads(line) for line in self.printed.splitlines()]


class Backbone:
    """The command; called, it returns what it prints, and fails the test when it fails."""

    def __init__(self, suite: Suite, variables: Mapping[str, str], folder: Path) -> None:
        self._suite, self._variables, self._folder = suite, variables, folder

    def __call__(self, *words: str) -> str:
        answer = self.ask(*words)
        told = f"{answer.said}{answer.printed}"
        assert answer.code == 0, f"backbone {' '.join(words)}: {told}"
        return answer.printed

    def ask(self, *words: str) -> Answer:
        """Call it, however it ends; -9 is the code of one that did not end in a minute."""
        with tempfile.TemporaryDirectory() as name:
            printed, said = Path(name) / "stdout", Path(name) / "stderr"
            printed.touch()
            said.touch()
            environment = {**self._suite.client_environment(), **self._variables}
            process = _FORKS.Process(
                target=forked_command.run,
                args=(words, environment, str(self._folder), str(printed), str(said)),
            )
            process.start()
            process.join(_TIMEOUT_S)
            if process.is_alive():
                process.kill()
                process.join()
            code = process.exitcode
            process.close()
            assert code is not None
            return Answer(code, printed.read_text(), said.read_text())


def on(suite: Suite, *, folder: Path | None = None, **variables: str) -> Backbone:
    """Return the command, called in `folder` or here.

    `variables` go into its environment, beside those of the suite.
    """
    return Backbone(suite, variables, folder or Path.cwd())
