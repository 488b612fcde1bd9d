"""faststream-outbox, a Python outbox for FastStream, in a virtual environment of its own."""

import asyncio
import contextlib
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil

from benchmarks.relay import backlog
from benchmarks.relay.contenders import Place
from devstack.tools import cache, wheels

NAME = "faststream-outbox"
_HERE = Path(__file__).parent
_LOCK = _HERE / "faststream_outbox.txt"
_SCRIPT = _HERE / "processes/faststream_relay.py"

_LOAD = f"""
INSERT INTO public.outbox (queue, payload, headers)
SELECT 'task-events', body, jsonb_build_object('key', key) || (
    SELECT jsonb_object_agg(pair ->> 0, pair ->> 1)
    FROM jsonb_array_elements(headers::jsonb) AS pair
)
FROM ({backlog.COPY}) AS copy
"""  # noqa: S608 - of constants
# As its own publish does: the notification is sent with the row.
INSERT = """
INSERT INTO public.outbox (queue, payload, headers) VALUES ('task-events', $1, $2::jsonb)
RETURNING pg_notify('outbox_outbox', queue)
"""


class FastStreamOutbox:
    """Its relay to Kafka, see `processes/faststream_relay.py`."""

    name = NAME

    def __init__(self, python: Path) -> None:
        self._python = str(python)

    async def prepare(self, place: Place) -> None:
        """Have it make its table."""
        argv = [self._python, str(_SCRIPT), "prepare", _url(place)]
        await asyncio.to_thread(subprocess.run, argv, check=True, env=_environment())

    async def load(self, place: Place, rows: int) -> None:
        """Put rows into its outbox."""
        await backlog.load(place.dsn, place.namespace, _LOAD, rows)

    @contextlib.contextmanager
    def running(self, place: Place) -> Iterator[psutil.Process]:
        """Run its relay."""
        argv = [self._python, str(_SCRIPT), "serve"]
        argv += [_url(place), place.stack.bootstrap, place.topic]
        with place.stack.process(self.name, argv, _environment()) as process:
            yield process

    async def ready(self, place: Place) -> bool:
        """Return whether it listens for rows."""
        connection = await asyncpg.connect(place.dsn)
        try:
            return bool(
                await connection.fetchval(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND query ILIKE 'LISTEN%'"
                )
            )
        finally:
            await connection.close()

    async def empty(self, place: Place) -> bool:
        """Return whether no row is left."""
        connection = await asyncpg.connect(place.dsn)
        try:
            return not await connection.fetchval("SELECT EXISTS (SELECT FROM public.outbox)")
        finally:
            await connection.close()


def find_relays() -> list[FastStreamOutbox]:
    """Return the one there is, installing it when it is absent.

    Raises:
        ToolMissingError: pip cannot fetch it.
    """
    version = wheels.pinned(_LOCK.read_text(), "faststream-outbox")

    def install(target: Path) -> None:
        # Without a pip of its own, which some Pythons cannot give it.
        venv.create(target / "venv", symlinks=True, with_pip=False)
        wheels.run(
            [
                *(sys.executable, "-m", "pip", "--python", str(target / "venv/bin/python")),
                *("install", "--quiet", "--no-input", "--disable-pip-version-check"),
                *("--only-binary", ":all:", "--require-hashes", "--requirement", str(_LOCK)),
            ],
            failure=f"pip cannot install faststream-outbox {version}",
        )

    entry = cache.installed(
        f"faststream-outbox-{version}",
        install,
        what=f"installing faststream-outbox {version}",
        usual="10-60 s",
    )
    return [FastStreamOutbox(entry / "venv/bin/python")]


def _url(place: Place) -> str:
    return place.dsn.replace("postgresql://", "postgresql+asyncpg://", 1)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
