"""The identifiers as the design says they are, derived without Backbone's code."""

import base64
import hashlib
import hmac
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

ROOT = uuid.UUID("6b7f5f9c-1f0e-5d0a-9d52-0c5b8f1b6a01")
NAMESPACE = "dev"
SECRET = b"backbone-local-instances"  # of correlation keys, where the environment is local


def short_hash(*parts: str) -> str:
    """Return 128 bits of SHA-256 over the parts, each after its length, in base32."""
    return _base32(hashlib.sha256(_joined(parts)).digest())


def key_hash(definition_id: str, correlation_key: str) -> str:
    """Return what stands for a correlation key: 128 bits of HMAC-SHA256, likewise."""
    return _base32(hmac.digest(SECRET, _joined((definition_id, correlation_key)), "sha256"))


def event_run(definition_id: str, source: str, event_id: str) -> str:
    """Return the id of the run that an event gives a definition."""
    return f"{definition_id}:event:{short_hash(source, event_id)}"


def manual_run(definition_id: str, request_id: str) -> str:
    """Return the id of the run that a request by hand gives a definition."""
    return f"{definition_id}:manual:{request_id}"


def scheduled_run(definition_id: str, due_at: datetime) -> str:
    """Return the id of the run of a due time."""
    return f"{definition_id}:{due_at.astimezone(UTC).isoformat().removesuffix('+00:00')}Z"


def timer_run(definition_id: str, key: str, generation: int, sequence: int, name: str) -> str:
    """Return the id of the run of a timer, which the `sequence`th of a generation has set."""
    return f"{definition_id}:timer:{key}:{generation}:{sequence}:{name}"


def instance_workflow(definition_id: str, key: str) -> str:
    """Return the id of the workflow of an instance, which all its generations share."""
    return f"{definition_id}:instance:{key}"


def task(run_id: str, name: str) -> str:
    """Return the id of the task `rule/key` of a run."""
    rule, _, key = name.partition("/")
    return str(uuid.uuid5(ROOT, f"task:{short_hash(NAMESPACE, run_id, rule, key)}"))


def failure_call(run_id: str, task_id: str, generation: int) -> str:
    """Return the id of the call that tells of a task's failure."""
    parts = (NAMESPACE, run_id, task_id, str(generation))
    return str(uuid.uuid5(ROOT, f"failure:{short_hash(*parts)}"))


def event(service: str, stream: str, version: int) -> str:
    """Return the id of the event that a service emits at a version of a stream."""
    parts = (NAMESPACE, f"backbone/{service}", stream, str(version))
    return str(uuid.uuid5(ROOT, f"event:{short_hash(*parts)}"))


def _joined(parts: Sequence[str]) -> bytes:
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)


def _base32(digest: bytes) -> str:
    return base64.b32encode(digest[:16]).decode().rstrip("=").lower()
