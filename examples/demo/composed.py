"""A stack that somebody else has started, as `docker compose up` does: told by addresses alone.

Of its own the demo brings the examples' billing database and their handlers, which no suite has.
Nothing of it is started or stopped here but those handlers.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import asyncpg
import billing_database
from local import StackError

from cli.settings import Settings
from devstack import ports
from devstack.suite import answers_ok
from runtime import databases
from runtime.tls import TlsFiles

EXAMPLES = Path(__file__).resolve().parents[1]
ADDRESSES: Mapping[str, str] = {
    "BACKBONE_REGISTRY_ADDRESS": "127.0.0.1:50051",
    "BACKBONE_LEDGER_ADDRESS": "127.0.0.1:50052",
    "BACKBONE_ROUTER_ADDRESS": "127.0.0.1:50053",
    "BACKBONE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
    "BACKBONE_TEMPORAL_ADDRESS": "127.0.0.1:7233",
    "TEMPORAL_UI": "http://127.0.0.1:8233",
    "CONSOLE": "http://127.0.0.1:50055",
    "POSTGRES_ADDRESS": "127.0.0.1:5432",
    "POSTGRES_PASSWORD": "postgres-dev",
    "BILLING_DB_PASSWORD": "b111",
}
"""What docker-compose.yml publishes unless it is told otherwise; the environment goes before it."""

SECRETS = "SECURE_FOLDER"
"""Names the folder with what the secure suite gave out: `developer`, whom the demo plays, and
`devstack`, who makes the billing database. Without it the suite is one of docker-compose.yml alone.
"""

_READY_S = 60.0
_STOP_S = 30.0
_LINES = 15


class ComposedStack:
    """The suite at these addresses, with the same questions as `local.Stack`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Take the names of `ADDRESSES` from `environment`."""
        self._told = {name: environment.get(name) or usual for name, usual in ADDRESSES.items()}
        self._services = {
            name: one for name, one in self._told.items() if name.startswith("BACKBONE_")
        }
        given = environment.get(SECRETS)
        self._secrets = None if given is None else Path(given).absolute()
        self._handlers: subprocess.Popen[str] | None = None
        self._last: deque[str] = deque(maxlen=_LINES)
        self.temporal_ui = self._told["TEMPORAL_UI"]
        self.console = self._told["CONSOLE"]
        if self._secrets is not None:
            # It publishes no UI of Temporal's, and its console over TLS alone.
            self.temporal_ui = environment.get("TEMPORAL_UI", "")
            self.console = environment.get("CONSOLE") or self.console.replace("http:", "https:")

    def settings(self) -> Settings:
        """Return the addresses, as the command reads them, and nothing of a stack in a folder."""
        said: dict[str, Any] = {
            name.removeprefix("BACKBONE_").lower(): one
            for name, one in {**self._services, **self._identity()}.items()
        }
        return Settings(_env_file=None, **said)

    def end_earlier(self) -> bool:
        """Do nothing: what runs there is not the demo's."""
        return False

    def start(self, waiting: Callable[[float], None]) -> None:
        """Prepare the billing database and start the handlers.

        Raises:
            StackError: PostgreSQL does not answer, or the handlers do not come up.
        """
        try:
            asyncio.run(self._prepare_billing())
        except (OSError, TimeoutError, ValueError, asyncpg.PostgresError) as exc:
            raise StackError(
                f"the billing database cannot be made: {exc}; start the suite with `docker compose "
                "up --wait`, or say in POSTGRES_ADDRESS where its PostgreSQL is"
            ) from exc
        listen = f"127.0.0.1:{ports.unused()}"
        self._handlers = subprocess.Popen(
            [sys.executable, "-m", "handlers"],
            env={
                **{name: value for name, value in os.environ.items() if name == "PATH"},
                "PYTHONPATH": str(EXAMPLES / "handlers"),
                "BACKBONE_ENVIRONMENT": "local" if self._secrets is None else "dev",
                "BACKBONE_HTTP_LISTEN": listen,
                **self._services,
                **self._identity(),
                **self._given_to_handlers(),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C is for the demo, which then stops it.
            start_new_session=True,
        )
        Thread(target=self._listen, args=(self._handlers,), daemon=True).start()
        began = time.monotonic()
        while not answers_ok(f"http://{listen}/readyz"):
            if self._handlers.poll() is not None or time.monotonic() - began > _READY_S:
                said = "; ".join(self._last) or "nothing was said"
                raise StackError(f"the examples' handlers do not come up: {said}")
            time.sleep(0.2)
        waiting(time.monotonic() - began)

    def keep(self) -> None:
        """Leave the suite as it is; the handlers end with the demo, whose own they are."""
        self.stop()

    def stop(self) -> None:
        """End the handlers, and nothing else."""
        if self._handlers is None:
            return
        self._handlers.terminate()
        try:
            self._handlers.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._handlers.kill()
            self._handlers.wait()
        self._handlers = None

    def runs(self, name: str) -> bool:
        """Say that it runs: of crashes in there nothing is heard here."""
        return bool(name)

    def last_lines(self, name: str) -> tuple[str, ...]:
        """Return the last lines of the handlers, or where those of a service are."""
        if name == "task-worker":
            return tuple(self._last)
        return (f"see `docker compose logs --tail {_LINES} {name}`",)

    def _identity(self) -> dict[str, str]:
        """Return whom the demo and its handlers show themselves as; nobody in a plain suite."""
        if self._secrets is None:
            return {}
        own = self._secrets / "developer"
        return {
            "BACKBONE_TLS_CERTIFICATE": str(own / "tls.crt"),
            "BACKBONE_TLS_PRIVATE_KEY": str(own / "tls.key"),
            "BACKBONE_TLS_CLIENT_CA": str(own / "ca.crt"),
        }

    def _given_to_handlers(self) -> dict[str, str]:
        """Return with what handlers open what is encrypted, and what they show Temporal."""
        if self._secrets is None:
            return {}
        own = self._secrets / "developer"
        given = {"BACKBONE_DATA_KEYS": str(own / "data-keys.json")}
        # Where Temporal asks for no token, nobody has been given one.
        if (token := own / "temporal-token").exists():
            given["BACKBONE_TEMPORAL_TOKEN_FILE"] = str(token)
        return given

    def _superuser(self, database: str) -> str:
        """Return how PostgreSQL's superuser reaches a database: by a password or a certificate."""
        at = f"{self._told['POSTGRES_ADDRESS']}/{database}"
        if self._secrets is None:
            return f"postgresql://postgres:{quote(self._told['POSTGRES_PASSWORD'], safe='')}@{at}"
        own = self._secrets / "devstack"
        files = TlsFiles(own / "tls.crt", own / "tls.key", own / "ca.crt")
        return databases.secured(f"postgresql://postgres@{at}", files)

    async def _prepare_billing(self) -> None:
        await billing_database.prepare(
            self._superuser("postgres"),
            billing_dsn=self._superuser(billing_database.DATABASE),
            script=(EXAMPLES / "billing.sql").read_text(encoding="utf-8"),
            password=self._told["BILLING_DB_PASSWORD"],
        )

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        for line in process.stdout or ():
            self._last.append(line.rstrip())
