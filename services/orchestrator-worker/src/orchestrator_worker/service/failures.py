"""The use case of failures: who is told, by the definition's `onFailure`, and that they were."""

from contracts import identifiers
from contracts.catalogue import Catalogue
from contracts.decisions import AutomatedInstance
from contracts.definitions import OnFailure, Retry
from contracts.runs import (
    EffectsQuestion,
    FailureHandler,
    FailureHandling,
    FailureNotice,
    FailureQuestion,
)
from orchestrator_worker.domain.cache import LeastRecentlyUsed
from orchestrator_worker.errors import DefinitionNotFoundError, EffectsHaltedError
from orchestrator_worker.ports import Control, DefinitionSource
from runtime import logs

RETRY = Retry()

_log = logs.get_logger(__name__)


class FailureTeller:
    """Finds who is told of failures, and records that they were."""

    def __init__(
        self,
        *,
        definitions: DefinitionSource,
        catalogue: Catalogue,
        control: Control,
        cached_definitions: int,
    ) -> None:
        """Keep in mind who is told for at most `cached_definitions` definition versions."""
        self._definitions = definitions
        self._catalogue = catalogue
        self._control = control
        self._known: LeastRecentlyUsed[tuple[str, str, int], tuple[OnFailure | None]] = (
            LeastRecentlyUsed(cached_definitions)
        )

    async def find(self, question: FailureQuestion) -> FailureHandler:
        """Return the call to make, as a task; none when the definition wants nobody told.

        Raises:
            TransientError: the registry or the ledger is away.
        """
        told = await self._on_failure(question)
        if told is None:
            return FailureHandler()
        queue = told.task_queue or self._queue_of(told.handler)
        if queue is None:
            _log.error(
                "failure_handler_unknown", run_id=question.run_id, handler=told.handler,
                definition_id=question.definition_id,
            )  # fmt: skip
            return FailureHandler()
        failed = question.task
        notice = FailureNotice(
            run_id=question.run_id,
            definition_id=question.definition_id,
            definition_version=question.definition_version,
            failure=question.failure,
            task_id=None if failed is None else failed.task_id,
            rule=None if failed is None else failed.rule,
            key=None if failed is None else failed.key,
            handler=None if failed is None else failed.handler,
        )
        halted = await self._control.effects_halted(question.namespace, question.definition_id)
        return FailureHandler(
            effects_halted=halted is not None,
            task=AutomatedInstance(
                task_id=identifiers.failure_call_id(
                    question.namespace,
                    question.run_id,
                    None if failed is None else failed.task_id,
                    question.generation,
                ),
                rule="" if failed is None else failed.rule,
                key="" if failed is None else failed.key,
                handler=told.handler,
                task_queue=queue,
                input=notice.model_dump(mode="json"),
                timeout=told.timeout,
                retry=RETRY,
            ),
        )

    async def effects(self, question: EffectsQuestion) -> None:
        """Return when no kill switch stops the effects of a definition.

        Raises:
            EffectsHaltedError: one does.
            TransientError: the ledger is away.
        """
        halted = await self._control.effects_halted(question.namespace, question.definition_id)
        if halted is not None:
            raise EffectsHaltedError(halted)

    async def told(self, handling: FailureHandling) -> bool:
        """Record that the handler was called; False when that was recorded before."""
        recorded = await self._control.record_failure_handled(handling)
        _log.info(
            "failure_handled",
            namespace=handling.namespace,
            run_id=handling.run_id,
            handler=handling.handler,
            failure=handling.failure.type if handling.failure is not None else None,
            recorded=recorded,
        )
        return recorded

    async def _on_failure(self, question: FailureQuestion) -> OnFailure | None:
        key = (question.namespace, question.definition_id, question.definition_version)
        known = self._known.get(key)
        if known is None:
            try:
                definition = await self._definitions.get(*key)
            except DefinitionNotFoundError:
                # That is why the run failed: nothing says who would want to know.
                return None
            known = (definition.spec.on_failure,)
            self._known.put(key, known)
        return known[0]

    def _queue_of(self, handler: str) -> str | None:
        found = (self._catalogue.handlers or {}).get(handler)
        return None if found is None else found.task_queue
