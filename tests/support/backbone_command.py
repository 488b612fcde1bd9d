"""The `backbone` command on a suite: each call is a process, whose imports were made before.

To import the command takes a second of a processor, and tests ask thousands of questions. What a
call does is the program's: arguments, environment, files for what it prints, and an exit code.
"""

import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path

import forked_command

from cli import commands
from devstack.suite import Suite

_TIMEOUT_S = 60.0
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["cli.__main__", *(f"cli.{where.partition('.')[0]}" for where in commands.NAMED.values())]
)


def on(suite: Suite, **variables: str) -> Callable[..., str]:
    """Return the command: it returns what it prints, and fails the test when it fails.

    `variables` go into its environment, beside those by which it finds the suite.
    """

    def call(*words: str) -> str:
        with tempfile.TemporaryDirectory() as name:
            printed, said = Path(name) / "stdout", Path(name) / "stderr"
            printed.touch()
            said.touch()
            process = _FORKS.Process(
                target=forked_command.run,
                args=(words, suite.client_environment() | variables, str(printed), str(said)),
            )
            process.start()
            process.join(_TIMEOUT_S)
            if process.is_alive():
                process.kill()
                process.join()
            code = process.exitcode
            process.close()
            told = f"{said.read_text()}{printed.read_text()}"
            assert code == 0, f"backbone {' '.join(words)}: {told}"
            return printed.read_text()

    return call
