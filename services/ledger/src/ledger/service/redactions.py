"""The use case of redaction: fields of what a run found are taken out of the store, for good.

The events of the run hold the snapshot's hash and stay as they are, so their chain stands. What
was recorded elsewhere (the decision, tasks, published events) is not touched.
"""

from collections.abc import Sequence

from contracts import canonical, redaction, strictjson
from ledger.errors import PreconditionError, RunNotFoundError
from ledger.ports.runs import RunStore
from ledger.service import once
from runtime import logs
from runtime.faultpoints import faultpoint
from runtime.postgres import Postgres, Transaction

_METHOD = "RedactSnapshot"
_log = logs.get_logger(__name__)


class Redactions:
    """Redacts snapshots."""

    def __init__(self, *, database: Postgres, runs: RunStore) -> None:
        self._database = database
        self._runs = runs

    async def redact_snapshot(
        self,
        *,
        namespace: str,
        run_id: str,
        fields: Sequence[str],
        request_id: str,
        actor: str,
        reason: str,
    ) -> bytes:
        """Replace fields of a run's snapshot by marks; return what is left.

        Runs that found exactly the same share one snapshot, and its redaction.

        Raises:
            RunNotFoundError: there is no such run.
            PreconditionError: it has no snapshot, or this has none of a field.
            InvalidRequestError: the request id was used for something else.
        """

        async def work(transaction: Transaction) -> bytes:
            is_first = await once.is_first(
                self._runs,
                transaction,
                method=_METHOD,
                request_id=request_id,
                content="\n".join([actor, run_id, *fields]).encode(),
                actor=actor,
                reason=reason,
                otherwise="another one",
            )
            left = await self._redacted(
                transaction, run_id, fields if is_first else (), actor=actor, reason=reason
            )
            faultpoint("ledger.before_redact_snapshot")
            return left

        left = await self._database.retrying(namespace, work)
        faultpoint("ledger.after_redact_snapshot")
        _log.info("snapshot_redacted", run_id=run_id, namespace=namespace, actor=actor)
        return left

    async def _redacted(
        self,
        transaction: Transaction,
        run_id: str,
        fields: Sequence[str],
        *,
        actor: str,
        reason: str,
    ) -> bytes:
        run = await self._runs.get_run(transaction, run_id)
        if run is None:
            raise RunNotFoundError(run_id)
        sha256 = run.snapshot_sha256
        body = None if sha256 is None else await self._runs.lock_document(transaction, sha256)
        if sha256 is None or body is None:
            raise PreconditionError(f"the run {run_id} has no snapshot: it could not decide")
        snapshot = strictjson.parse(body)
        for field in fields:
            before = snapshot
            snapshot = redaction.redacted(snapshot, [field], key=None)
            if snapshot == before:
                raise PreconditionError(f"the snapshot of {run_id} has no {field} to redact")
        left = canonical.render(snapshot)
        if fields:
            await self._runs.redact_document(transaction, sha256, left, actor=actor, reason=reason)
        return left
