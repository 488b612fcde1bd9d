"""Every service and worker alike: what it needs outside of a machine of one's own, or it ends."""

import os
import subprocess
import sys

import pytest

NOWHERE = "127.0.0.1:1"
SETTINGS = {
    "REGISTRY_ADDRESS": NOWHERE,
    "LEDGER_ADDRESS": NOWHERE,
    "ROUTER_ADDRESS": NOWHERE,
    "TEMPORAL_ADDRESS": NOWHERE,
    "KAFKA_BOOTSTRAP_SERVERS": NOWHERE,
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "POSTGRES_DSN": "postgresql://nobody@127.0.0.1:1/none",
    "OUTBOXES": '[{"name": "ledger", "dsn": "postgresql://127.0.0.1:1/none", "schema": "ledger"}]',
    "TOPICS": '["dev.events"]',
    "TASK_QUEUES": '["billing-tq"]',
}
WORKER = """
import sdk
from pydantic import BaseModel

class Reminder(BaseModel):
    invoice: str

@sdk.task_handler("send_reminder")
async def send_reminder(reminder: Reminder, context: sdk.TaskContext) -> None: ...

sdk.run_worker(handlers=[send_reminder], task_queue="billing-tq")
"""
PROGRAMS = {
    "ledger": ("-m", "ledger", "serve"),
    "registry": ("-m", "registry", "serve"),
    "router": ("-m", "router", "serve"),
    "orchestrator-worker": ("-m", "orchestrator_worker", "serve"),
    "outbox-relay": ("-m", "outbox_relay", "serve"),
    "console": ("-m", "console", "serve"),
    "task-worker": ("-c", WORKER),
}


WITH_KEYS = ("ledger", "registry", "router", "orchestrator-worker", "task-worker")


def last_words(name: str, **more: str) -> str:
    """Return the last line that a program says as it refuses to start."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKBONE_")}
    done = subprocess.run(
        [sys.executable, *PROGRAMS[name]],
        env=kept | {f"BACKBONE_{key}": value for key, value in (SETTINGS | more).items()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_tls_nothing_starts_but_locally(name: str) -> None:
    assert last_words(name) == (
        f"{name}: without TLS nobody can be told apart, and everybody listens: set "
        "BACKBONE_TLS_CERTIFICATE, BACKBONE_TLS_PRIVATE_KEY and BACKBONE_TLS_CLIENT_CA, or "
        "BACKBONE_ENVIRONMENT=local on a machine of your own"
    )


@pytest.mark.parametrize("name", WITH_KEYS)
def test_without_keys_nothing_starts_that_has_to_encrypt(name: str) -> None:
    told = last_words(name, ENVIRONMENT="local", ENCRYPTION="required")
    assert told.startswith(f"{name}: BACKBONE_DATA_KEYS is missing")
