"""A certificate or token that is replaced is used by the running processes: none starts anew."""

import asyncio
import contextlib
import json
import ssl
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import psutil
import pytest
import scenario
import workload
import yaml
from cryptography import x509
from history import HistoryFile
from waiting import until

from contracts.services import Service
from devstack.infrastructure import Endpoints
from devstack.infrastructure.certificates import StackCertificates
from devstack.suite import Suite
from runtime import authority, temporal
from runtime.errors import DatabaseUnavailableError
from runtime.postgres import Postgres
from runtime.temporal import TemporalUnavailableError
from runtime.tls import TlsFiles

SECONDS = 20.0
REASON = ("--reason", "renewal test")


async def presented(address: str, files: TlsFiles) -> int:
    """Return the serial number of the certificate that a gRPC server shows."""
    context = ssl.create_default_context(cafile=files.client_ca)
    context.load_cert_chain(files.certificate, files.private_key)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(shown).serial_number
    finally:
        writer.close()
        with contextlib.suppress(OSError):  # gRPC has heard no preface, and hangs up
            await writer.wait_closed()


def pid(suite: Suite, name: str) -> int | None:
    return next(status.pid for status in suite.status() if status.name == name)


async def test_a_service_shows_the_new_certificate_without_a_restart(
    suite: Suite, certified: StackCertificates
) -> None:
    address = suite.addresses["ledger"].grpc
    assert address is not None
    before = pid(suite, "ledger")
    first = await presented(address, certified.member())
    issued = certified.issue(authority.service_request(Service.LEDGER))
    new = x509.load_pem_x509_certificate(issued.certificate.read_bytes()).serial_number
    assert new != first
    async with asyncio.timeout(SECONDS):
        while await presented(address, certified.member()) != new:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)
    assert pid(suite, "ledger") == before


async def test_a_pool_shows_the_new_certificate_with_its_next_connection(
    endpoints: Endpoints, certified: StackCertificates
) -> None:
    dsn = endpoints.postgres.dsn("registry")
    sql = "SELECT client_serial::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    postgres = await Postgres.connect(dsn, application="test", schema="registry", size=2)

    async def seen() -> int:
        async with postgres.transaction("dev") as transaction:
            return int(await transaction.fetchval(sql))

    try:
        first = await seen()
        issued = certified.issue(authority.service_request(Service.REGISTRY))
        new = x509.load_pem_x509_certificate(issued.certificate.read_bytes()).serial_number
        admin = await asyncpg.connect(endpoints.postgres.dsn())
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test'"
        )
        await admin.close()
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    found = await seen()
                    break
                except DatabaseUnavailableError:  # until the pool knows that it was cut off
                    continue
        assert first != new == found
    finally:
        await postgres.close()


def connections(suite: Suite, name: str, port: int) -> set[int]:
    """Return the local ports of a process's connections to a server."""
    process = psutil.Process(pid(suite, name))
    return {c.laddr.port for c in process.net_connections() if c.raddr and c.raddr.port == port}


async def carried_out(
    suite: Suite, folder: Path, *, source: str, events: int = 6, seconds: float = 2.0
) -> None:
    """Send events for some seconds, and see that each has its run and its tasks."""
    with contextlib.closing(HistoryFile(folder / f"{source}.jsonl")) as history:
        outcome = await scenario.run(
            suite,
            source=source,
            records=workload.plan(seed=1, source=source, events=events, duplicates=0),
            seconds=seconds,
            history=history,
        )
    assert outcome.violations == []


@pytest.mark.timeout(240)
async def test_what_lasts_for_days_connects_anew_with_the_new_certificate(
    suite: Suite, certified: StackCertificates, backbone: Callable[..., str], tmp_path: Path
) -> None:
    files = [f"tests/chaos/definitions/{name}.yaml" for name in ("orders", "order-placed")]
    backbone("-n", "dev", "apply", "-f", files[0], "-f", files[1], *REASON)
    kafka = int(suite.endpoints.kafka_bootstrap_servers.rpartition(":")[2])
    temporal = int(suite.endpoints.temporal_address.rpartition(":")[2])
    lasting = [
        (Service.ROUTER, kafka),  # consumer, and producer of dead letters
        (Service.OUTBOX_RELAY, kafka),
        (Service.ROUTER, temporal),
        (Service.ORCHESTRATOR_WORKER, temporal),
    ]
    services = {service for service, _ in lasting}
    pids = {service: pid(suite, service) for service in services}

    async def worked() -> None:
        source = f"renewal-{uuid.uuid4().hex[:6]}"
        # An event of the registry: the relay has a producer for each outbox.
        metadata = {"id": source, "namespace": "dev", "owner": "e2e"}
        document = {"apiVersion": "backbone/v1", "kind": "EventType", "metadata": metadata}
        document["spec"] = {"schemas": [{"version": 1, "schema": {"type": "object"}}]}
        file = tmp_path / f"{source}.yaml"
        file.write_text(yaml.safe_dump(document))
        await asyncio.to_thread(backbone, "-n", "dev", "apply", "-f", str(file), *REASON)
        await carried_out(suite, tmp_path, source=source)

    await worked()
    before = {one: connections(suite, *one) for one in lasting}
    assert all(before.values())
    for service in services:
        certified.issue(authority.service_request(service))

    def renewed(service: Service, port: int) -> bool:
        now = connections(suite, service, port)
        if port == temporal:
            # A worker has asked for work by the old one, and hears its answer there; else it ends
            # when what it belongs to is collected.
            return bool(now - before[service, port])
        return bool(now) and not now & before[service, port]

    # With each use: some are made anew only when there is something to send.
    while not all(renewed(*one) for one in lasting):
        await worked()
    assert {service: pid(suite, service) for service in services} == pids


WORKERS = ("orchestrator-worker", "handlers", "quoting")


def told(suite: Suite, name: str, event: str, **fields: str) -> int:
    """Return how often a process has said something since it was started."""
    lines = [line for line in suite.log(name).read_text().splitlines() if line.startswith("{")]
    said = [one for one in map(json.loads, lines) if one.get("event") == event]
    return sum(fields.items() <= one.items() for one in said)


@pytest.mark.timeout(400)
async def test_runs_go_on_when_every_token_for_temporal_is_replaced_and_the_old_ones_are_refused(
    suite: Suite, certified: StackCertificates, backbone: Callable[..., str], tmp_path: Path
) -> None:
    """A token ends within the hour: what shows an old one then can do nothing any more."""
    files = [f"tests/chaos/definitions/{name}.yaml" for name in ("orders", "order-placed")]
    backbone("-n", "dev", "apply", "-f", files[0], "-f", files[1], *REASON)
    issuer, name = suite.issuer, "dev.developer"
    kept, shown = tmp_path / "kept", tmp_path / "shown"
    kept.write_text(issuer.token_file(name).read_text())
    processes = ("registry", "router", *WORKERS)
    pids = {process: pid(suite, process) for process in processes}
    queues = {worker: told(suite, worker, "serving_task_queue") for worker in WORKERS}
    before = {worker: renewals(suite, worker) for worker in WORKERS}
    assert all(queues.values())

    async def opens(token: Path) -> bool:
        try:
            await temporal.connect(
                suite.endpoints.temporal_address,
                namespace="dev",
                identity="test",
                tls=certified.member(),
                token_file=token,
            )
        except TemporalUnavailableError as exc:
            # What is signed by no key that is known is not even told which version answers.
            if "PermissionDenied" not in str(exc):
                raise
            return False
        return True

    async def replaced() -> None:
        issuer.rotate()
        shown.write_text(
            issuer.temporal_token(
                name, ("dev:write",), now=datetime.now(UTC), lifetime=timedelta(hours=1)
            )
        )

        async def known() -> bool:
            return await opens(shown)

        assert await until(known, seconds=SECONDS)
        issuer.renew(now=datetime.now(UTC))

        async def taken() -> bool:
            return all(
                renewals(suite, worker) - before[worker] >= queues[worker] for worker in WORKERS
            )

        assert await until(taken, seconds=SECONDS)
        issuer.retire()

        async def refused() -> bool:
            return not await opens(kept)

        assert await until(refused, seconds=SECONDS)

    source = f"tokens-{uuid.uuid4().hex[:6]}"
    await asyncio.gather(
        carried_out(suite, tmp_path, source=source, events=40, seconds=20.0), replaced()
    )
    await carried_out(suite, tmp_path, source=f"{source}-after")
    assert {process: pid(suite, process) for process in processes} == pids


def renewals(suite: Suite, worker: str) -> int:
    return told(suite, worker, "files_renewed", what="token for Temporal")
