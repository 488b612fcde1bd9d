"""The events of a running stack are sealed, and what is changed behind its back is found."""

import json
import uuid

import asyncpg
import pytest
import yaml
from waiting import until


def verify(backbone, *words):
    """Run `backbone audit verify`; return its exit code and its findings."""
    answer = backbone.ask("audit", "verify", "-o", "json", *words)
    return answer.code, answer.lines


@pytest.mark.timeout(300)
async def test_an_event_that_was_changed_is_found_and_an_anchor_keeps(suite, backbone, tmp_path):
    name = f"e2e.audited-{uuid.uuid4().hex[:8]}"
    document = {
        "apiVersion": "backbone/v1",
        "kind": "EventType",
        "metadata": {"id": name, "namespace": "dev", "owner": "e2e"},
        "spec": {"schemas": [{"version": 1, "schema": {"type": "object"}}]},
    }
    file = tmp_path / "type.yaml"
    file.write_text(yaml.safe_dump(document))
    backbone("apply", "-f", str(file), "--reason", "something to audit")
    connection = await asyncpg.connect(suite.endpoints.postgres.dsn())
    try:
        position = await connection.fetchval(
            "SELECT position FROM registry.events WHERE stream = $1", f"event-type:{name}"
        )

        async def sealed():
            return await connection.fetchval("SELECT registry.events_sealed_to()") >= position

        assert await until(sealed, seconds=60), "it is not sealed"
        assert verify(backbone) == (0, [])
        newest = json.loads(backbone("audit", "checkpoint", "--service", "registry", "-o", "json"))
        change = "UPDATE registry.events SET key = $1 WHERE position = $2"
        key = await connection.fetchval(
            "SELECT key FROM registry.events WHERE position = $1", position
        )
        await connection.execute(change, "forged", position)
        try:
            code, (finding,) = verify(backbone, "--anchor", newest["anchor"])
        finally:
            await connection.execute(change, key, position)
        assert code == 1
        assert (finding["service"], finding["finding"]) == ("registry", "event_altered")
        assert (finding["position"], finding["stream"]) == (position, f"event-type:{name}")
        assert verify(backbone, "--anchor", newest["anchor"]) == (0, [])
    finally:
        await connection.close()
