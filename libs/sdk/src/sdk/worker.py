"""Serves handlers on a task queue: a worker in a few lines."""

import asyncio
import functools
import re
from collections.abc import Sequence
from typing import Any

from temporalio.client import Client
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker

from contracts import identifiers
from runtime import commands, grpcclient, logs, telemetry, temporal
from runtime.httpserver import Health, HttpServer
from runtime.lifecycle import Closing, Component, Process
from runtime.temporalworker import QueueServer
from runtime.tls import TlsFiles
from sdk.carrying import temporal_activity
from sdk.errors import HandlerDefinitionError
from sdk.handlers import Handler
from sdk.outcomes import GrpcOutcomeRecorder, OutcomeRecorder
from sdk.settings import WorkerSettings

SERVICE = "task-worker"


class TaskWorker:
    """A worker of one task queue, in every namespace of its settings."""

    def __init__(
        self,
        *,
        handlers: Sequence[Handler[Any]],
        task_queue: str,
        settings: WorkerSettings | None = None,
    ) -> None:
        """Serve `handlers` on `task_queue`; settings come from `BACKBONE_*` unless given.

        Raises:
            HandlerDefinitionError: there is no handler, or two share a name, or the task queue's
                name is malformed.
        """
        names = [handler.name for handler in handlers]
        if not names:
            raise HandlerDefinitionError("a worker needs at least one handler")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise HandlerDefinitionError(f"handlers share a name: {', '.join(twice)}")
        if not re.match(identifiers.TASK_QUEUE_PATTERN, task_queue):
            raise HandlerDefinitionError(f"not a task queue's name: {task_queue!r} (name-tq)")
        self._handlers = list(handlers)
        self._task_queue = task_queue
        self._settings = settings if settings is not None else WorkerSettings()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then let tasks in flight end."""
        settings = self._settings
        logs.setup(service=SERVICE, level=settings.log_level)
        provider = telemetry.Telemetry(service=SERVICE, otlp_endpoint=settings.otlp_endpoint)
        health = Health()
        channel = grpcclient.channel(
            settings.ledger_address, actor=SERVICE, tls=TlsFiles.of(settings)
        )
        recorder = GrpcOutcomeRecorder(channel)
        components: list[Component] = [
            HttpServer(listen=settings.http_listen, health=health),
            Closing("ledger", channel.close),
            *(
                queue_server(
                    handlers=self._handlers,
                    task_queue=self._task_queue,
                    namespace=namespace,
                    settings=settings,
                    recorder=recorder,
                )
                for namespace in settings.namespaces
            ),
        ]
        try:
            await Process(components, health=health, grace=settings.shutdown_grace).run()
        finally:
            provider.shutdown()


def queue_server(
    *,
    handlers: Sequence[Handler[Any]],
    task_queue: str,
    namespace: str,
    settings: WorkerSettings,
    recorder: OutcomeRecorder,
) -> QueueServer:
    """Return the component that serves handlers on a task queue of one namespace."""
    activities = [temporal_activity(handler, recorder) for handler in handlers]

    def worker(client: Client) -> Worker:
        return Worker(
            client,
            task_queue=task_queue,
            activities=activities,
            max_concurrent_activities=settings.max_activities,
            activity_task_poller_behavior=PollerBehaviorSimpleMaximum(settings.activity_pollers),
            graceful_shutdown_timeout=settings.graceful_shutdown,
        )

    connect = functools.partial(
        temporal.connect, settings.temporal_address, namespace=namespace, identity=SERVICE
    )
    return QueueServer(task_queue=task_queue, connect=connect, worker=worker)


def run_worker(*, handlers: Sequence[Handler[Any]], task_queue: str) -> None:
    """Serve `handlers` on `task_queue` until SIGTERM: the last line of a worker's `main`.

    A missing setting or a taken address is one sentence on standard error and exit code 1 or 2.
    """
    with commands.errors_told(SERVICE):
        asyncio.run(TaskWorker(handlers=handlers, task_queue=task_queue).run())
