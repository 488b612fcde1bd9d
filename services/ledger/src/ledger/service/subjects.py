"""The use cases of people's sensitive values: keep, resolve, reveal, erase.

A value is kept before anything that refers to it, and is never written anywhere in the clear. Who
erases a person destroys one key; what refers to the values stays, with its hashes and its chain.
"""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from contracts.events import SubjectErased
from contracts.sensitive import Reference
from eventstore import store
from eventstore.events import Cause, Fact
from eventstore.store import EventStore
from ledger.domain.subjects import (
    Kept,
    NewValue,
    OwnedKey,
    Reveal,
    SealedValue,
    StoredValue,
    Subject,
)
from ledger.errors import ConcurrentErasureError, SubjectNotFoundError
from ledger.ports.requests import RequestLog
from ledger.ports.subjects import SubjectStore
from ledger.service import once, subject_keys, writing
from ledger.service.subject_keys import SubjectKeys
from runtime import logs
from runtime.postgres import Postgres, Transaction

REWRAPPED_TOGETHER = 500
_TRIES = 10
"""Of having a key, where others erase it meanwhile."""

_ERASE = "EraseSubject"
_REVEAL = "RevealValues"
_log = logs.get_logger(__name__)


class SubjectLedger:
    """Keeps sensitive values, and destroys the keys of those who are erased."""

    def __init__(
        self,
        *,
        database: Postgres,
        subjects: SubjectStore,
        requests: RequestLog,
        events: EventStore,
        keys: SubjectKeys,
    ) -> None:
        self._database = database
        self._store = subjects
        self._requests = requests
        self._events = events
        self._keys = keys

    async def keep(self, namespace: str, values: Sequence[NewValue]) -> list[Kept]:
        """Keep values; return what stands for each. The first value of an id stays, erased or not.

        Raises:
            NoDataKeysError: the ledger has no data keys.
            ValueUnreadableError: a data key is missing.
        """

        async def work(transaction: Transaction) -> list[Kept]:
            index = await self._index(transaction)
            refs = {one.subject: subject_keys.subject_ref(index, one.subject) for one in values}
            ids = [one.blob_id for one in values]
            stored = await self._store.values(transaction, ids)
            fresh = [one for one in values if one.blob_id not in stored]
            if fresh:
                await self._add(transaction, fresh, refs)
                # Another's, where that was faster.
                stored = await self._store.values(transaction, ids)
            return [self._kept(namespace, one, refs, stored[one.blob_id]) for one in values]

        return await writing.write(self._database, "keep_values", namespace, work)

    async def resolve(self, namespace: str, references: Collection[Reference]) -> dict[UUID, bytes]:
        """Return the values behind references, by blob id; none of what is erased or not there.

        Raises:
            NoDataKeysError, ValueUnreadableError: as `keep`.
        """
        async with self._database.transaction(namespace) as transaction:
            return await self._opened(transaction, references)

    async def reveal(
        self,
        namespace: str,
        references: Collection[Reference],
        *,
        actor: str,
        reason: str,
        request_id: str,
    ) -> dict[UUID, bytes]:
        """Return values to be shown to a person, once that is recorded.

        Raises:
            InvalidRequestError: the request id was used for something else.
            NoDataKeysError, ValueUnreadableError: as `keep`.
        """

        async def work(transaction: Transaction) -> dict[UUID, bytes]:
            ids = sorted({UUID(one.blob_id) for one in references})
            if await once.is_first(
                self._requests,
                transaction,
                method=_REVEAL,
                request_id=request_id,
                content="\n".join([actor, *map(str, ids)]).encode(),
                actor=actor,
                reason=reason,
                otherwise="other values",
            ):
                await self._store.add_reveal(
                    transaction, ids, actor=actor, reason=reason, request_id=request_id
                )
            return await self._opened(transaction, references)

        found = await writing.write(self._database, "reveal_values", namespace, work)
        _log.info(
            "values_revealed", namespace=namespace, values=len(found), actor=actor, reason=reason
        )
        return found

    async def reveals(self, namespace: str, *, before: int | None, limit: int) -> list[Reveal]:
        """Return at most `limit` reveals before one, the newest first."""
        async with self._database.transaction(namespace) as transaction:
            return await self._store.reveals(transaction, before=before, limit=limit)

    async def get(self, namespace: str, subject: str) -> Subject:
        """Return what is known of a person, without any value.

        Raises:
            SubjectNotFoundError: nothing sensitive was ever kept of them.
            NoDataKeysError, ValueUnreadableError: as `keep`.
        """
        async with self._database.transaction(namespace) as transaction:
            return await self._subject(transaction, await self._ref(transaction, subject))

    async def erase(
        self, namespace: str, subject: str, *, actor: str, reason: str, request_id: str
    ) -> tuple[Subject, bool]:
        """Destroy the key of a person; say whether there was one. Who is erased stays so.

        Raises:
            SubjectNotFoundError: nothing sensitive was ever kept of them.
            InvalidRequestError: the request id was used for something else.
            NoDataKeysError, ValueUnreadableError: as `keep`.
        """

        async def work(transaction: Transaction) -> tuple[Subject, bool]:
            ref = await self._ref(transaction, subject)
            is_first = await once.is_first(
                self._requests,
                transaction,
                method=_ERASE,
                request_id=request_id,
                content=f"{actor}\n{ref}".encode(),
                actor=actor,
                reason=reason,
                otherwise="another subject",
            )
            erased = is_first and await self._erase(transaction, ref, actor=actor, reason=reason)
            return await self._subject(transaction, ref), erased

        found, erased = await writing.write(self._database, "erase_subject", namespace, work)
        _log.info(
            "subject_erased",
            namespace=namespace,
            subject_ref=found.subject_ref,
            erased=erased,
            actor=actor,
            reason=reason,
        )
        return found, erased

    async def rewrap(self, namespace: str) -> tuple[int, bool]:
        """Wrap some keys with the active data key; return how many, and whether there may be more.

        Raises:
            NoDataKeysError, ValueUnreadableError: as `keep`.
        """

        async def work(transaction: Transaction) -> int:
            index = await self._store.index_key(transaction)
            active = self._keys.active
            if index is not None and index.data_key != active:
                key = self._keys.unwrap(index, namespace=namespace)
                await self._store.rewrap_index(
                    transaction, self._keys.wrap(key, namespace=namespace)
                )
            owned = await self._store.wrapped_otherwise(
                transaction, active, limit=REWRAPPED_TOGETHER
            )
            again = {
                one.key_id: self._keys.wrap(
                    self._keys.unwrap(
                        one.wrapped, namespace=namespace, subject_ref=one.subject_ref
                    ),
                    namespace=namespace,
                    subject_ref=one.subject_ref,
                ).data
                for one in owned
            }
            await self._store.rewrap(transaction, active, again)
            return len(again)

        rewrapped = await writing.write(self._database, "rewrap_subject_keys", namespace, work)
        return rewrapped, rewrapped == REWRAPPED_TOGETHER

    async def _index(self, transaction: Transaction) -> bytes:
        """Return the namespace's key of references, made now if there is none."""
        namespace = transaction.namespace
        wrapped = await self._store.index_key(transaction)
        if wrapped is None:
            made = self._keys.wrap(subject_keys.generate(), namespace=namespace)
            await self._store.add_index_key(transaction, made)
            # Another's, if that was faster.
            wrapped = await self._store.index_key(transaction) or made
        return self._keys.unwrap(wrapped, namespace=namespace)

    async def _ref(self, transaction: Transaction, subject: str) -> str:
        wrapped = await self._store.index_key(transaction)
        if wrapped is None:
            raise SubjectNotFoundError
        index = self._keys.unwrap(wrapped, namespace=transaction.namespace)
        return subject_keys.subject_ref(index, subject)

    async def _subject(self, transaction: Transaction, ref: str) -> Subject:
        keys = await self._store.keys_of(transaction, ref)
        if not keys:
            raise SubjectNotFoundError
        return Subject(ref, keys)

    async def _add(
        self, transaction: Transaction, values: Sequence[NewValue], refs: Mapping[str, str]
    ) -> None:
        namespace = transaction.namespace
        wanted = sorted({refs[one.subject] for one in values})
        owned = await self._owned(transaction, wanted)
        keys = {
            ref: self._keys.unwrap(one.wrapped, namespace=namespace, subject_ref=ref)
            for ref, one in owned.items()
        }
        sealed = []
        for one in values:
            ref = refs[one.subject]
            sealed.append(
                SealedValue(
                    blob_id=one.blob_id,
                    key_id=owned[ref].key_id,
                    hash=subject_keys.value_hash(keys[ref], one.blob_id, one.value),
                    sealed=subject_keys.seal(
                        keys[ref], one.value, namespace=namespace, blob_id=one.blob_id
                    ),
                )
            )
        await self._store.add_values(transaction, sealed)

    async def _owned(self, transaction: Transaction, wanted: Sequence[str]) -> dict[str, OwnedKey]:
        """Return the live key of each person, held until the transaction ends; made where missing.

        Raises:
            ConcurrentErasureError: somebody erases one of them again and again.
        """
        owned: dict[str, OwnedKey] = {}
        for _ in range(_TRIES):
            missing = [ref for ref in wanted if ref not in owned]
            found = await self._store.live_keys(transaction, missing)
            owned |= {one.subject_ref: one for one in found}
            missing = [ref for ref in missing if ref not in owned]
            if not missing:
                return owned
            # Where another has one made just now, theirs stays; it may be erased before it is held.
            made = {
                ref: self._keys.wrap(
                    subject_keys.generate(), namespace=transaction.namespace, subject_ref=ref
                )
                for ref in missing
            }
            await self._store.add_keys(transaction, made)
        raise ConcurrentErasureError

    def _kept(
        self, namespace: str, value: NewValue, refs: Mapping[str, str], stored: StoredValue
    ) -> Kept:
        ref = refs[value.subject]
        if stored.subject_ref != ref:
            return Kept(stored.hash, conflict=True)
        if stored.wrapped is None:
            # Nobody can tell any more whether it is the same value: it is erased either way.
            return Kept(stored.hash)
        key = self._keys.unwrap(stored.wrapped, namespace=namespace, subject_ref=ref)
        told = subject_keys.value_hash(key, value.blob_id, value.value)
        return Kept(stored.hash, conflict=told != stored.hash)

    async def _opened(
        self, transaction: Transaction, references: Collection[Reference]
    ) -> dict[UUID, bytes]:
        namespace = transaction.namespace
        told = {UUID(one.blob_id): one.hash for one in references}
        found: dict[UUID, bytes] = {}
        for blob_id, stored in (await self._store.values(transaction, sorted(told))).items():
            # Who does not have the hash was never given the reference.
            if stored.wrapped is None or stored.hash != told[blob_id]:
                continue
            key = self._keys.unwrap(
                stored.wrapped, namespace=namespace, subject_ref=stored.subject_ref
            )
            found[blob_id] = subject_keys.unseal(
                key, stored.sealed, namespace=namespace, blob_id=blob_id
            )
        return found

    async def _erase(self, transaction: Transaction, ref: str, *, actor: str, reason: str) -> bool:
        at = await self._store.now(transaction)
        if not await self._store.erase(transaction, ref, actor=actor, reason=reason, at=at):
            return False
        last = (await self._store.keys_of(transaction, ref))[-1]
        fact = Fact(
            SubjectErased(subject_ref=ref, values=last.values, actor=actor, reason=reason), key=ref
        )
        await self._events.append(
            transaction,
            stream=store.subject_stream(ref),
            facts=[fact],
            expected=store.ANY,
            occurred_at=at,
            cause=Cause(correlation_id=store.subject_stream(ref)),
        )
        return True
