"""The runbooks as tests perform them: command by command, as they are written, in their order."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pages

from devstack.suite import Suite

FOLDER = Path(__file__).parents[2] / "docs" / "runbooks"
_PLACEHOLDER = re.compile(r"\b[A-Z][A-Z_]+\b")


def commands(name: str) -> list[str]:
    """Return the commands of a runbook in their order, without prompts."""
    found = pages.steps(FOLDER / f"{name}.md")
    return [step.line for step in found if isinstance(step, pages.Command)]


class Runbook:
    """One runbook on a suite: `step` performs the next command, what is `left` was not yet."""

    def __init__(self, name: str, suite: Suite, backbone: Callable[..., str]) -> None:
        self.left = commands(name)
        self._suite, self._backbone = suite, backbone

    def step(self, begins: str, *options: str, last: bool = True, **values: str) -> str:
        """Perform the next command, which begins so; return what it prints.

        `values` are what the case at hand has in the place of words in capitals, and `options` say
        how it is printed. Unless it is the `last` time, the same command comes next once more.
        """
        command = self.left[0]
        assert command.startswith(begins), f"{command} is next, not {begins}"
        assert set(_PLACEHOLDER.findall(command)) == set(values), command
        if last:
            self.left.pop(0)
        filled = _PLACEHOLDER.sub(lambda word: values[word[0]], command)
        program, *words = shlex.split(filled)
        if program == "backbone":
            return self._backbone(*words, *options)
        assert program == "kubectl", command
        return self._on_the_local_stack(*words)

    def _on_the_local_stack(self, *words: str) -> str:
        match words:
            case ("logs", name, "--tail", count):
                log = self._suite.log(_process(name)).read_text(errors="replace")
                return "\n".join(log.splitlines()[-int(count) :])
            case ("rollout", "restart", name):
                self._suite.restart(_process(name))
                return ""
            case ("rollout", "status", name):
                self._suite.wait_ready(_process(name))
                return ""
        raise AssertionError(f"kubectl {' '.join(words)} means nothing here")


def _process(name: str) -> str:
    kind, _, process = name.partition("/")
    assert kind == "deployment", name
    return process
