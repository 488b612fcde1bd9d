"""Runs that look at a real database and a real HTTP API, friendly and hostile, through Temporal."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import http_api
import pytest
from http_api import Api, Behaviour
from temporalio.client import Client

from backbone.ledger.v1 import ledger_pb2
from contracts.catalogue import Catalogue
from contracts.names import Workflow
from contracts.runs import RunInput, RunResult
from orchestrator_worker.settings import Settings

CUSTOMER = {
    "type": "object",
    "required": ["gold"],
    "properties": {"gold": {"type": "boolean"}},
}
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
ROWS = {"name": "rows", "query": {"connector": "db", "statement": "rows", "parameters": {}}}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with http_api.api() as served:
        yield served


@pytest.fixture
def catalogue(api: Api, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    monkeypatch.setenv("CONTEXT_TEST_DSN", postgres_dsn)
    url = f"http://127.0.0.1:{api.port}"
    paths = {"/customer": {"result": CUSTOMER, "redact": ["email"], "maxBytes": 2000}}
    many = "SELECT n AS id FROM generate_series(1, $1::bigint) n"
    statements = {
        "rows": {"sql": "SELECT 1 AS id"},
        "many": {
            "sql": many,
            "parameters": [{"name": "count", "type": "integer"}],
            "maxRows": 10_000,
            "maxBytes": 1024 * 1024,
        },
        "misshapen": {
            "sql": "SELECT 'a' AS id",
            "result": {"type": "array", "items": {"properties": {"id": {"type": "integer"}}}},
        },
        "slow": {"sql": "SELECT pg_sleep(30)"},
    }
    return Catalogue.model_validate(
        {
            "connectors": {
                "crm": {
                    "http": {
                        "url": url,
                        "networks": ["127.0.0.0/8"],
                        "timeout": "1s",
                        "paths": paths,
                    }
                },
                "own": {"http": {"url": f"https://localhost:{api.port}", "paths": {"/": {}}}},
                "db": {
                    "postgres": {
                        "dsnEnv": "CONTEXT_TEST_DSN",
                        "statementTimeout": "1s",
                        "statements": statements,
                    }
                },
            }
        }
    )


Decide = Callable[..., Awaitable[tuple[RunInput, RunResult]]]


@pytest.fixture
async def decide(
    client: Client,
    serving: Settings,
    task_queue: str,
    definitions: Any,
    *,
    make_definition: Callable[..., Any],
    make_run: Callable[..., RunInput],
) -> Decide:
    """Run a definition with these context entries to its end."""

    async def run(
        *entries: dict[str, Any], when: str = "false", items: str | None = None
    ) -> tuple[RunInput, RunResult]:
        assert serving.task_queues == (task_queue,)
        task = {"type": "human", "title": "'Look'", "assignees": {"groups": ["desk"]}}
        rule = {"name": "look", "when": when, "task": task}
        if items is not None:
            rule |= {"forEach": {"item": "one", "in": items}, "task": {**task, "key": "one.id"}}
        definitions.known["dev", "billing.overdue", 1] = make_definition(
            rules=[rule], context=list(entries)
        )
        made = make_run()
        result = await client.execute_workflow(
            Workflow.RUN_ACTIVITY.value,
            made,
            id=made.run_id,
            task_queue=task_queue,
            result_type=RunResult,
        )
        return made, result

    return run


def customer(**fields: Any) -> dict[str, Any]:
    return {"name": "customer", "http": {"connector": "crm", "path": "/customer"}, **fields}


def statement(name: str, **fields: Any) -> dict[str, Any]:
    query = {"connector": "db", "statement": name, "parameters": fields.pop("parameters", {})}
    return {"name": "rows", "query": query, **fields}


async def test_a_run_sees_rows_answers_and_its_last_run(
    api: Api, ledger: Any, ledger_service: Any, decide: Decide
) -> None:
    api.answers["/customer"] = http_api.as_json({"gold": True, "email": "ann@example.com"})
    last = ledger_service.last
    last.run.run_id, last.run.status = "billing.overdue:before", ledger_pb2.RUN_STATUS_COMPLETED
    last.run.definition_version, last.run.trigger_kind = 1, "schedule"
    for moment in (last.run.recorded_at, last.window_start, last.window_end, last.scheduled_for):
        moment.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    run, result = await decide(
        ROWS,
        customer(),
        {"name": "last", "lastRun": {"status": "completed"}},
        when="context.rows[0].id == 1 && context.customer.email == 'ann@example.com'"
        " && context.last.window.end == '2026-01-01T00:00:00Z' && context.last.closed_at == null",
    )
    assert result.failure is None
    assert b'"title":"Look"' in ledger.runs[run.run_id][1]
    assert b"ann@example.com" not in ledger.snapshots[run.run_id]
    asked = ("billing.overdue", run.run_id, ledger_pb2.RUN_STATUS_COMPLETED)
    assert ledger_service.asked_last == [asked]


@pytest.mark.parametrize(
    ("entry", "behaviour", "kind", "says"),
    [
        (customer(), http_api.answer(b"", status="302 Found", location="/"), "Response",
         "context customer (crm /customer): the host answers with a redirect (302)"),
        (customer(), http_api.endlessly(CHUNKED, b"3e8\r\n" + b"1" * 1000 + b"\r\n"), "Response",
         "more than the 2000 bytes"),
        (customer(retries=0), http_api.endlessly(CHUNKED, b"1\r\n1\r\n", pause=0.05),
         "ContextGivenUp", "given up after 1 of 1 attempts: context customer (crm /customer): "
         "there is no whole answer within 1 s"),
        (customer(retries=1), http_api.answer(b"{}", status="503 Busy"), "ContextGivenUp",
         "given up after 2 of 2 attempts"),
        (customer(), http_api.as_json({"gold": "yes"}), "ContextShape",
         'the answer does not follow its schema: gold: "yes" is not of type "boolean"'),
        ({"name": "own", "http": {"connector": "own", "path": "/"}}, None, "AddressRefused",
         "which is no public address"),
        ({"name": "none", "http": {"connector": "none", "path": "/"}}, None, "Connector",
         "there is no HTTP connector none"),
        (statement("many", parameters={"count": "10001"}), None, "Statement",
         "context rows (db.many): more than the 10000 rows"),
        (statement("misshapen"), None, "ContextShape", "does not follow its schema: [0].id"),
        (statement("slow", retries=0), None, "ContextGivenUp", "given up after 1 of 1 attempts"),
    ],
)  # fmt: skip
async def test_what_cannot_be_used_is_a_failed_run_with_its_reason(
    api: Api,
    ledger: Any,
    decide: Decide,
    *,
    entry: dict[str, Any],
    behaviour: Behaviour | None,
    kind: str,
    says: str,
) -> None:
    if behaviour is not None:
        api.answers["/customer"] = behaviour
    run, _ = await decide(entry)
    failure = ledger.failures[run.run_id].failure
    assert failure.type == kind
    assert says in failure.message
    assert run.run_id not in ledger.runs


async def test_ten_thousand_items_are_a_failed_run_with_its_reason(
    ledger: Any, decide: Decide
) -> None:
    run, _ = await decide(
        statement("many", parameters={"count": "10000"}), when="true", items="context.rows"
    )
    failure = ledger.failures[run.run_id].failure
    assert failure.type == "Undecidable"
    assert "a task for each of 10000 items is too much" in failure.message


async def test_a_run_goes_on_with_null_and_says_why(api: Api, ledger: Any, decide: Decide) -> None:
    api.answers["/customer"] = http_api.cut(b"")
    run, result = await decide(
        customer(retries=0, onFailure="null"), when="context.customer == null"
    )
    assert result.failure is None
    assert b'"title":"Look"' in ledger.runs[run.run_id][1]
    assert b"given up after 1 of 1 attempts" in ledger.snapshots[run.run_id]


async def test_a_run_without_retries_waits_until_the_system_answers(
    api: Api, ledger: Any, decide: Decide
) -> None:
    async def mend(send: http_api.Send) -> None:
        if len(api.targets) > 2:
            api.answers["/customer"] = http_api.as_json({"gold": True})
        await http_api.answer(b"{}", status="503 Busy")(send)

    api.answers["/customer"] = mend
    run, result = await decide(customer(), when="context.customer.gold")
    assert result.failure is None
    assert run.run_id in ledger.runs
