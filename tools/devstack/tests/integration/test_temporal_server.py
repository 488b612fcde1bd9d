"""Temporal's full server on PostgreSQL, asked by the SDK."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

from devstack.infrastructure import Endpoints, TemporalServerInfrastructure

# The first test builds the server, where `make tools` has not.
pytestmark = pytest.mark.timeout(1200)


@activity.defn
async def answers() -> str:
    return "answered"


@workflow.defn(sandboxed=False)
class Asks:
    @workflow.run
    async def run(self) -> str:
        said: str = await workflow.execute_activity(
            answers, start_to_close_timeout=timedelta(seconds=30)
        )
        return said


@pytest.fixture(scope="module")
def temporal(
    endpoints: Endpoints, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TemporalServerInfrastructure]:
    with TemporalServerInfrastructure(
        tmp_path_factory.mktemp("temporal-server"),
        postgres=endpoints.postgres,
        namespaces=("dev", "stage"),
    ) as server:
        yield server


@pytest.mark.parametrize("namespace", ["dev", "stage"])
async def test_workflows_run_in_each_namespace(
    temporal: TemporalServerInfrastructure, namespace: str, unique_name: str
) -> None:
    client = await Client.connect(temporal.address, namespace=namespace)
    async with Worker(client, task_queue=unique_name, workflows=[Asks], activities=[answers]):
        said = await client.execute_workflow(Asks.run, id=unique_name, task_queue=unique_name)
    assert said == "answered"


async def test_what_was_begun_outlives_kill_and_restart(
    temporal: TemporalServerInfrastructure, unique_name: str
) -> None:
    client = await Client.connect(temporal.address, namespace="dev")
    handle = await client.start_workflow("Nothing", id=unique_name, task_queue="nobody-tq")
    before = temporal.pid

    temporal.kill()
    temporal.wait_ready()
    assert temporal.pid != before
    assert (await handle.describe()).run_id == handle.first_execution_run_id

    temporal.restart()
    assert (await handle.describe()).run_id == handle.first_execution_run_id
    assert temporal.crashes() == []


def test_second_start_finds_schema_and_namespaces_as_they_are(
    temporal: TemporalServerInfrastructure,
) -> None:
    address = temporal.address
    temporal.stop()
    assert temporal.start() == address


def test_its_secrets_are_for_its_user_alone(temporal: TemporalServerInfrastructure) -> None:
    folder: Path = temporal.log().parent.parent
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "server.json").stat().st_mode & 0o077 == 0
