"""A real Prometheus scrapes every process: dashboards and alerts ask for what is there."""

import asyncio
import json
import uuid
from pathlib import Path

import prometheus
import pytest
import yaml
from waiting import until

from devstack import dashboards
from devstack.suite import SERVICES

ALERTS = Path(__file__).parents[2] / "deploy" / "observability" / "alerts.yaml"
QUERIES = [
    pytest.param(query, id=f"{dashboard.uid}: {panel.title}")
    for dashboard in dashboards.DASHBOARDS
    for panel in dashboard.panels
    for query in panel.queries
]


@pytest.fixture(scope="module")
def scraper(suite, backbone, tmp_path_factory):
    """A Prometheus that scrapes the suite, in which a run with a task has happened."""
    targets = {service: suite.addresses[service].http for service in SERVICES}
    (handlers,) = [one.health for one in suite.status() if one.name == "handlers"]
    targets |= {
        "handlers": handlers.removeprefix("http://").removesuffix("/readyz"),
        "temporal-sdk": suite.addresses["orchestrator-worker"].temporal_metrics,
        "temporal": suite.endpoints.temporal_metrics,
    }
    folder = tmp_path_factory.mktemp("prometheus")
    with prometheus.scraping(targets, folder, rules=ALERTS) as running:
        _carry_out_a_run(backbone, folder)
        yield running


def _carry_out_a_run(backbone, folder):
    name = f"e2e.measured-{uuid.uuid4().hex[:6]}"
    metadata = {"id": name, "namespace": "dev", "owner": "e2e"}
    schemas = [{"version": 1, "schema": {"type": "object"}}]
    task = {
        "type": "automated",
        "handler": "pack",
        "taskQueue": "e2e-handlers-tq",
        "input": {"line": "'lamp'", "order": "trigger.kind"},
    }
    documents = [
        {"kind": "EventType", "metadata": metadata, "spec": {"schemas": schemas}},
        {
            "kind": "ActivityDefinition",
            "metadata": metadata,
            "spec": {
                "taskQueue": "e2e-tq",
                "triggers": [{"name": "measured", "event": {"type": name}}],
                "rules": [{"name": "pack", "task": task}],
            },
        },
    ]
    files = []
    for document in documents:
        file = folder / f"{document['kind']}.yaml"
        file.write_text(yaml.safe_dump({"apiVersion": "backbone/v1"} | document))
        files += ["-f", str(file)]
    backbone("apply", *files, "--reason", "a test of metrics")
    event = {
        "type": name,
        "source": "e2e",
        "subject": "a-lamp",
        "trace_id": uuid.uuid4().hex,
        "schema_version": 1,
        "payload": {},
    }
    (folder / "event.json").write_text(json.dumps(event))
    backbone("publish", "dev.orders", "-f", str(folder / "event.json"), "--fill")


def ready(scraper):
    async def is_ready():
        return await asyncio.to_thread(scraper.is_ready)

    return is_ready


async def test_every_process_is_scraped(scraper):
    async def all_up():
        return not await asyncio.to_thread(scraper.down)

    assert await until(ready(scraper), seconds=60)

    assert await until(all_up, seconds=60), scraper.down()


@pytest.mark.parametrize("query", QUERIES)
async def test_every_query_of_a_dashboard_finds_something_or_says_why_not(scraper, query):
    promql = query.promql.replace("$__rate_interval", "5m")

    async def found():
        return await asyncio.to_thread(scraper.query, promql)

    assert await until(ready(scraper), seconds=60)
    if query.quiet:
        await found()  # Prometheus reads it; there may be nothing
        return
    assert await until(found, seconds=60), promql


async def test_prometheus_reads_what_alerts_ask(scraper):
    assert await until(ready(scraper), seconds=60)
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        await asyncio.to_thread(scraper.query, rule["expr"])
