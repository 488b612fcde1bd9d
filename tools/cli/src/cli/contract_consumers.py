"""Runs a team's own consumer against example records, each in a process of its own.

The value is on the process's standard input; its environment has the record's topic and key as
`RECORD_TOPIC` and `RECORD_KEY`, and each header as `RECORD_HEADER_<NAME>`.
"""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import IO

from cli.contract_examples import Example
from cli.errors import UsageError

_LAST_BYTES = 4096


class Result(StrEnum):
    """What became of an example."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """How a consumer took an example; `detail` says why it failed, or what it said."""

    example: str
    result: Result
    exit_code: int | None
    detail: str


def feed(example: Example, command: Sequence[str], *, timeout_s: float) -> Outcome:
    """Give an example to a command and wait for it to end.

    An acceptable example is accepted by exit code 0. Any other may be refused by another exit code;
    the process must end by itself all the same, and not by a signal.

    Raises:
        UsageError: the command cannot be started.
    """
    with tempfile.TemporaryFile() as value, tempfile.TemporaryFile() as said:
        value.write(example.value)
        value.seek(0)
        try:
            # A file, not a pipe: a consumer that does not read must not block us.
            process = subprocess.Popen(  # noqa: S603 - the command is the caller's own
                list(command),
                stdin=value,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=os.environ | environment(example),
                start_new_session=True,
            )
        except OSError as exc:
            raise UsageError(f"{command[0]} cannot be started: {exc.strerror}") from exc
        try:
            code: int | None = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # What it started ends with it, also when we are interrupted.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return _judged(example, code, _last_line(said), timeout_s)


def environment(example: Example) -> dict[str, str]:
    """Return the variables by which a command is told of a record's topic, key and headers."""
    variables = {"RECORD_TOPIC": example.topic, "RECORD_KEY": example.key}
    for name, text in example.headers.items():
        variables[f"RECORD_HEADER_{re.sub('[^A-Z0-9]', '_', name.upper())}"] = text
    return variables


def _judged(example: Example, code: int | None, said: str, timeout_s: float) -> Outcome:
    result = Result.FAILED
    if code is None:
        detail = f"it did not end within {timeout_s:g} s"
    elif code < 0:
        detail = f"it was ended by {signal.Signals(-code).name}"
    elif code == 0:
        result, detail = Result.ACCEPTED, ""
    elif example.acceptable:
        detail = f"it ended with exit code {code}"
    else:
        result, detail = Result.REFUSED, ""
    told = f"{detail}: {said}" if detail and said else detail or said
    return Outcome(example=example.name, result=result, exit_code=code, detail=told)


def _last_line(said: IO[bytes]) -> str:
    end = said.seek(0, os.SEEK_END)
    said.seek(max(0, end - _LAST_BYTES))
    lines = said.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
