"""The identifiers as the design says they are, derived without Backbone's code."""

import base64
import hashlib
import uuid
from datetime import UTC, datetime

ROOT = uuid.UUID("6b7f5f9c-1f0e-5d0a-9d52-0c5b8f1b6a01")
NAMESPACE = "dev"


def short_hash(*parts: str) -> str:
    """Return 128 bits of SHA-256 over the parts, each after its length, in base32."""
    data = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return base64.b32encode(hashlib.sha256(data).digest()[:16]).decode().rstrip("=").lower()


def event_run(definition_id: str, source: str, event_id: str) -> str:
    """Return the id of the run that an event gives a definition."""
    return f"{definition_id}:event:{short_hash(source, event_id)}"


def manual_run(definition_id: str, request_id: str) -> str:
    """Return the id of the run that a request by hand gives a definition."""
    return f"{definition_id}:manual:{request_id}"


def scheduled_run(definition_id: str, due_at: datetime) -> str:
    """Return the id of the run of a due time."""
    return f"{definition_id}:{due_at.astimezone(UTC).isoformat().removesuffix('+00:00')}Z"


def task(run_id: str, name: str) -> str:
    """Return the id of the task `rule/key` of a run."""
    rule, _, key = name.partition("/")
    return str(uuid.uuid5(ROOT, f"task:{short_hash(NAMESPACE, run_id, rule, key)}"))


def event(service: str, stream: str, version: int) -> str:
    """Return the id of the event that a service emits at a version of a stream."""
    parts = (NAMESPACE, f"backbone/{service}", stream, str(version))
    return str(uuid.uuid5(ROOT, f"event:{short_hash(*parts)}"))
