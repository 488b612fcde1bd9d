"""Takes attacks by their numbers, in a process whose memory and processor time are bounded.

Prints two JSON lines for each: its number when it begins, and then what became of it. Whoever
reads knows by that which one ended the process.
"""

import asyncio
import contextlib
import io
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attacks
from attacks import Attack

from cli import definition_files, output
from cli.errors import CliError
from contracts import targets
from contracts.catalogue import HttpConnector, HttpPath
from contracts.rejections import EventRejectedError
from ledger.adapters import pages
from ledger.errors import LedgerError
from registry.domain import validation
from registry.domain.validation import Source
from router.domain import posted
from router.domain.authentication import Authentication
from router.domain.ingress import Ingress
from router.domain.policy import Policy
from router.domain.records import Record
from rules import expressions, jsonschemas, matching, patterns
from rules.checks import Surroundings
from rules.errors import RulesError
from runtime import logs
from runtime.errors import RuntimeLibraryError
from runtime.pinnednetwork import PinnedNetwork

MEMORY_BYTES = 2 * 1024**3
PROCESSOR_S = 120
FILE_BYTES = 16 * 1024**2
_REFUSALS = (
    *(EventRejectedError, RulesError, CliError, LedgerError, RuntimeLibraryError),
    ValueError,  # pydantic's too
)


def _document(raw: bytes) -> str:
    reading = validation.read([Source("one", raw)], namespaces=["dev"], namespace="dev")
    problems = validation.check(reading, Surroundings(event_types={}, catalogue=None))
    if problems:
        raise ValueError("; ".join(f"{one.path}: {one.message}" for one in problems))
    return "document"


def _definition(raw: bytes) -> str:
    reading = validation.read([Source("one", raw)], namespaces=["dev"], namespace="dev")
    problems = validation.check(reading, Surroundings())
    if problems:
        raise ValueError("; ".join(f"{one.path}: {one.message}" for one in problems))
    return "definition"


def _expression(given: tuple[str, dict[str, Any]]) -> str:
    text, values = given
    return json.dumps(expressions.compile(text, variables=["event"]).evaluate(values))


def _pattern(given: tuple[dict[str, Any], dict[str, Any]]) -> str:
    pattern, document = given
    compiled = patterns.compile(pattern)
    index: matching.Index[str] = matching.Index()
    index.put("one", compiled, event_type=None)
    found = index.match(None, document)
    assert bool(found) == compiled.matches(document)
    return "match" if found else "no match"


def _event(given: tuple[bytes, Any]) -> str:
    value, headers = given
    ingress = Ingress("dev", Authentication(clock=lambda: 0, is_open=True))
    record = Record("dev.events", 0, 0, 1, None, value, tuple(headers))
    found = ingress.admit(record, Policy()).envelope()
    return "event" + (" without trace context" if found.traceparent is None else "")


def _batch(body: bytes) -> str:
    return f"{len(posted.slices(body))} events"


def _file(content: bytes) -> str:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(content)
        file.flush()
        definition_files.load(file.name)
    return "definition"


def _path(path: str) -> str:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("loop").symlink_to("loop")
        definition_files.load(path)
    return "definition"


def _form(given: tuple[Any, Any]) -> str:
    schema, value = given
    problems = jsonschemas.compile(schema).problems(value)
    if problems:
        raise ValueError("; ".join(problems))
    return "answer"


def _host(host: str) -> str:
    asyncio.run(PinnedNetwork(None).connect_tcp(host, 443, timeout=1))
    return "connected"


def _rebinding(found: list[str]) -> str:
    async def resolve(_host: str, _port: int) -> list[str]:
        return found

    asyncio.run(PinnedNetwork(None, resolve=resolve).connect_tcp("a.test", 443, timeout=1))
    return "connected"


def _connector(url: str) -> str:
    HttpConnector.model_validate({"url": url, "paths": {"/": {}}})
    return "connector"


def _parameter(value: Any) -> str:
    path = HttpPath.model_validate({"parameters": [{"name": "id", "type": "text"}]})
    return targets.target("/v1", "/things/{id}", path, {"id": value})


def _table(value: str) -> str:
    out = io.StringIO()
    printed = output.Output(output.Format.TABLE, out=out)
    printed.rows([{"name": value}], [("NAME", "name")], none="")
    return "\n".join(out.getvalue().splitlines()[1:])


def _json(value: str) -> str:
    out = io.StringIO()
    output.Output(output.Format.JSON, out=out).document(value)
    return out.getvalue().rstrip()


def _complaint(text: str) -> str:
    error = io.StringIO()
    output.Output(output.Format.TABLE, error=error).error(text)
    return error.getvalue().rstrip()


def _log(value: str) -> str:
    error = io.StringIO()
    with contextlib.redirect_stderr(error):
        logs.setup(service="test", as_json=True)
        logs.get_logger("test").warning("something", detail=value)
    lines = error.getvalue().splitlines()
    assert json.loads(lines[0])["detail"] == value
    assert "\x1b" not in error.getvalue()
    return f"{len(lines)} line"


def _token(token: str) -> str:
    return str(pages.position(token, "filter"))


ENTRIES: dict[str, Callable[[Any], str]] = {
    "document": _document,
    "definition": _definition,
    "expression": _expression,
    "pattern": _pattern,
    "event": _event,
    "batch": _batch,
    "file": _file,
    "path": _path,
    "form": _form,
    "host": _host,
    "rebinding": _rebinding,
    "connector": _connector,
    "parameter": _parameter,
    "table": _table,
    "json": _json,
    "complaint": _complaint,
    "log": _log,
    "token": _token,
}


def outcome(attack: Attack) -> str:
    """Return what becomes of an attack: the refusal, or what it was taken as."""
    try:
        return f"taken: {ENTRIES[attack.given](attack.payload())}"
    except _REFUSALS as exc:
        return f"refused: {exc}"


def _tell(*told: Any) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_S, PROCESSOR_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    for number in map(int, sys.argv[1:]):
        _tell(number)
        before = resource.getrusage(resource.RUSAGE_SELF)
        try:
            told = outcome(attacks.ATTACKS[number])
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it is what is to be told
            told = f"failed: {type(exc).__name__}: {exc}"
        after = resource.getrusage(resource.RUSAGE_SELF)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        _tell(number, told[:20_000], processor, after.ru_maxrss << 10)
    os._exit(0)


if __name__ == "__main__":
    _main()
