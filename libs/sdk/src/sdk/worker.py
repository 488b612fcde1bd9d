"""Serves handlers on task queues: a worker in a few lines."""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from temporalio.client import Client
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker

from runtime import (
    catalogue,
    commands,
    encryption,
    grpcclient,
    logs,
    telemetry,
    temporal,
    temporalworker,
)
from runtime.encryption import AtRest
from runtime.errors import ConfigurationError
from runtime.httpserver import Health, HttpServer
from runtime.lifecycle import Closing, Component, Process
from runtime.temporalworker import FatalError, QueueServer, QueueServers
from runtime.tls import TlsFiles
from runtime.vitals import Vitals
from sdk import queues as queue_checks
from sdk.carrying import temporal_activity
from sdk.errors import HandlerDefinitionError
from sdk.handlers import Handler
from sdk.outcomes import GrpcOutcomeRecorder, OutcomeRecorder
from sdk.sensitive_values import GrpcSensitiveValues, SensitiveValues
from sdk.settings import WorkerSettings

SERVICE = "task-worker"

Queues = Mapping[str, Sequence[Handler[Any]]]


class TaskWorker:
    """A worker of task queues, in every namespace of its settings."""

    def __init__(
        self,
        *,
        handlers: Sequence[Handler[Any]] | None = None,
        task_queue: str | None = None,
        queues: Queues | None = None,
        settings: WorkerSettings | None = None,
    ) -> None:
        """Serve `handlers` on `task_queue`, or several queues with the handlers of each.

        Settings come from `BACKBONE_*` unless given.

        Raises:
            HandlerDefinitionError: there is no handler, or two of a queue share a name; a queue's
                name is malformed or Backbone's own; a handler with limits shares its queue.
            ConfigurationError: the catalogue of the settings says otherwise.
        """
        self._queues = queue_checks.given(handlers, task_queue, queues)
        self._settings = settings if settings is not None else WorkerSettings()
        queue_checks.check_listed(self._queues, catalogue.load(self._settings.catalogue))

    async def run(self, *others: Component) -> None:
        """Serve until SIGTERM or SIGINT, then let tasks in flight end.

        `others` are what the handlers use: begun before them, and ended after them.

        Raises:
            QueueServerError: Temporal does not let it serve, as in a namespace that is not there.
        """
        settings = self._settings
        confidential = encryption.mode(settings, environment=settings.environment) != "off"
        logs.setup(service=SERVICE, level=settings.log_level, confidential=confidential)
        provider = telemetry.Telemetry(
            service=SERVICE,
            otlp_endpoint=settings.otlp_endpoint,
            sample_ratio=settings.trace_sample_ratio,
            confidential=confidential,
        )
        temporalworker.offer_metrics(settings.temporal_metrics_listen)
        health = Health()
        tls = TlsFiles.required(settings)
        at_rest = encryption.load(settings, environment=settings.environment)
        channel = grpcclient.channel(settings.ledger_address, actor=SERVICE, tls=tls)
        recorder = GrpcOutcomeRecorder(channel)
        sensitive_values = GrpcSensitiveValues(channel)
        components: list[Component] = [
            HttpServer(listen=settings.http_listen, health=health),
            Vitals(tls),
            Closing("ledger", channel.close),
            *others,
            QueueServers(
                [
                    queue_server(
                        handlers=handlers,
                        task_queue=task_queue,
                        namespace=namespace,
                        settings=settings,
                        recorder=recorder,
                        sensitive_values=sensitive_values,
                        at_rest=at_rest,
                    )
                    for namespace in settings.namespaces
                    for task_queue, handlers in self._queues.items()
                ]
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
    sensitive_values: SensitiveValues | None = None,
    at_rest: AtRest | None = None,
) -> QueueServer:
    """Return the component that serves handlers on a task queue of one namespace.

    The limits of a handler, which is alone on its queue then, are the queue's.
    """
    activities = [temporal_activity(handler, recorder, sensitive_values) for handler in handlers]
    limits = handlers[0].limits

    def worker(client: Client, failed: FatalError) -> Worker:
        return Worker(
            client,
            task_queue=task_queue,
            activities=activities,
            max_concurrent_activities=limits.max_concurrency or settings.max_activities,
            # The server's, over all workers, and this one's: the server begins with a burst.
            max_task_queue_activities_per_second=limits.rate_per_second,
            max_activities_per_second=limits.rate_per_second,
            activity_task_poller_behavior=PollerBehaviorSimpleMaximum(settings.activity_pollers),
            graceful_shutdown_timeout=settings.graceful_shutdown,
            on_fatal_error=failed,
        )

    connect = functools.partial(
        temporal.connect,
        settings.temporal_address,
        namespace=namespace,
        identity=SERVICE,
        tls=TlsFiles.of(settings),
        token_file=settings.temporal_token_file,
        at_rest=at_rest,
    )
    return QueueServer(task_queue=task_queue, connect=connect, worker=worker)


def run_worker(
    *,
    handlers: Sequence[Handler[Any]] | None = None,
    task_queue: str | None = None,
    queues: Queues | None = None,
) -> None:
    """Serve handlers on task queues until SIGTERM: the last line of a worker's `main`.

    What is wrong with settings, queues or handlers is one sentence on standard error and exit code
    1 or 2.
    """
    with commands.errors_told(SERVICE):
        try:
            worker = TaskWorker(handlers=handlers, task_queue=task_queue, queues=queues)
        except HandlerDefinitionError as exc:
            raise ConfigurationError(str(exc)) from exc
        asyncio.run(worker.run())
