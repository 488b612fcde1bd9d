"""`python -m <package> serve | check | migrate`: the same three for every service.

A service may have commands of its own beside them, which say in lines what they did.

A wrong setting or an absent neighbour is one sentence on standard error and exit code 1 or 2,
never a traceback.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Never, TypeVar

from pydantic import ValidationError

from runtime.errors import RuntimeLibraryError

T = TypeVar("T")

_FAILED = 1
_MISUSED = 2


@dataclass(frozen=True)
class Check:
    """What `check` found of one thing that the service needs."""

    name: str
    ok: bool
    detail: str


async def probe(name: str, question: Callable[[], Awaitable[str]]) -> Check:
    """Ask `question` within 10 s; its answer, or why there is none, is the detail."""
    try:
        async with asyncio.timeout(10):
            return Check(name, ok=True, detail=await question())
    except TimeoutError:
        return Check(name, ok=False, detail="no answer within 10 s")
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is what the check found
        return Check(name, ok=False, detail=str(exc) or type(exc).__name__)


@contextlib.contextmanager
def errors_told(service: str) -> Iterator[None]:
    """Tell a wrong setting or an absent neighbour in one sentence, and exit with 2 or 1."""
    try:
        yield
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_input=False):
            name = "_".join(str(part) for part in error["loc"][:1]).upper() or "SETTINGS"
            _say(f"{service}: setting BACKBONE_{name}: {error['msg']}")
        sys.exit(_MISUSED)
    except RuntimeLibraryError as exc:
        _say(f"{service}: {exc}")
        sys.exit(_FAILED)


def leave(code: int) -> Never:
    """End the process, its output written, without an end of the interpreter.

    Threads of Temporal's client outlive the event loop, and one of them that reports to an
    interpreter at its end aborts the process (https://github.com/temporalio/sdk-python/issues/300).
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(
    service: str,
    *,
    serve: Callable[[], Awaitable[None]],
    check: Callable[[], Awaitable[Sequence[Check]]],
    migrate: Callable[[], Sequence[str]] | None = None,
    extra: Mapping[str, Callable[[], Awaitable[Sequence[str]]]] | None = None,
    arguments: Sequence[str] | None = None,
    end: Callable[[int], Never] = leave,
) -> Never:
    """Do what the command line asks, and end the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    own = extra or {}
    code = 0
    try:
        with errors_told(service):
            match words:
                case ["serve"]:
                    asyncio.run(_gather(serve))
                case ["check"]:
                    checks = asyncio.run(_gather(check))
                    for item in checks:
                        _say(f"{'ok  ' if item.ok else 'FAIL'} {item.name}: {item.detail}")
                    code = 0 if all(item.ok for item in checks) else _FAILED
                case ["migrate"] if migrate is not None:
                    applied = migrate()
                    _say("\n".join(f"applied {name}" for name in applied) or "nothing to apply")
                case [word] if word in own:
                    _say("\n".join(asyncio.run(_gather(own[word]))) or "nothing to do")
                case _:
                    known = ["serve", "check", *(["migrate"] if migrate else []), *own]
                    _say(f"usage: python -m {service.replace('-', '_')} {' | '.join(known)}")
                    code = _MISUSED
    except KeyboardInterrupt:
        code = 130
    except SystemExit as told:
        code = int(told.code or 0)
    end(code)


async def _gather(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a command's answer
