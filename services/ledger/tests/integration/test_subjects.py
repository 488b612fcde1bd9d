"""Sensitive values: encrypted under a key of each person, and unreadable once it is destroyed."""

import asyncio
import contextlib
import json
import os
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest

from backbone.audit.v1 import audit_pb2, audit_pb2_grpc
from backbone.ledger.v1 import subjects_pb2 as pb
from backbone.ledger.v1 import subjects_pb2_grpc as pb_grpc
from contracts.roles import Role
from runtime import datakeys
from runtime.datakeys import DataKeyFile, KeyDocument
from runtime.postgres import Postgres

SubjectStub: TypeAlias = "pb_grpc.SubjectServiceAsyncStub"
Calls: TypeAlias = Callable[..., Awaitable[grpc.aio.Channel]]
CANARY = "ada.canary@example.org"


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    path = tmp_path / "data-keys.json"
    datakeys.write_document(path, KeyDocument(active="k1", keys={"k1": datakeys.generate()}))
    return path


def turned(ring: Path, *ids: str) -> None:
    """Make the last of `ids` the active key, and forget all that are not among them."""
    known = datakeys.read_document(ring).keys
    keys = {one: known.get(one) or datakeys.generate() for one in ids}
    datakeys.write_document(ring, KeyDocument(active=ids[-1], keys=keys))


@pytest.fixture
def opened(calls: Calls, ring: Path) -> Callable[..., Awaitable[SubjectStub]]:
    async def open_for(*roles: Role) -> SubjectStub:
        return pb_grpc.SubjectServiceStub(await calls(*roles, data_keys=DataKeyFile(ring)))

    return open_for


@pytest.fixture
async def subjects(opened: Callable[..., Awaitable[SubjectStub]]) -> SubjectStub:
    return await opened()


def value(number: int = 1, content: object = CANARY, subject: str = "ada") -> pb.SensitiveValue:
    blob_id = str(uuid.uuid5(uuid.NAMESPACE_URL, str(number)))
    return pb.SensitiveValue(blob_id=blob_id, subject=subject, value=json.dumps(content).encode())


async def keep(
    stub: SubjectStub, *values: pb.SensitiveValue, namespace: str = "dev"
) -> list[pb.KeptValue]:
    answer = await stub.KeepValues(pb.KeepValuesRequest(namespace=namespace, values=values))
    return list(answer.kept)


def referring(values: list[pb.SensitiveValue], kept: list[pb.KeptValue]) -> list[pb.ValueReference]:
    return [
        pb.ValueReference(blob_id=one.blob_id, hash=told.hash)
        for one, told in zip(values, kept, strict=True)
    ]


async def read(
    stub: SubjectStub, references: list[pb.ValueReference], *, namespace: str = "dev"
) -> list[object]:
    answer = await stub.ResolveValues(
        pb.ResolveValuesRequest(namespace=namespace, references=references)
    )
    return [json.loads(one.value) for one in answer.values]


async def erase(stub: SubjectStub, request_id: str = "e-1", subject: str = "ada") -> bool:
    answer = await stub.EraseSubject(
        pb.EraseSubjectRequest(
            namespace="dev", subject=subject, reason="asked for it", request_id=request_id
        )
    )
    return answer.erased


async def tables(postgres: Postgres) -> str:
    """Return everything in every table of the schema, as text."""
    async with postgres.transaction("dev") as transaction:
        names = await transaction.fetch(
            "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname = current_schema() AND relkind IN ('r', 'p') ORDER BY 1"
        )
        rows = []
        for (name,) in names:
            found = await transaction.fetch(f'SELECT t::text AS row FROM "{name}" AS t')  # noqa: S608
            rows += [f"{name} {one['row']}" for one in found]
    return "\n".join(rows)


async def test_what_is_kept_is_read_by_its_reference_alone(subjects: SubjectStub) -> None:
    values = [value(1), value(2, {"street": "Hauptstr. 1"}), value(3, [1, 2.5], subject="bob")]
    kept = await keep(subjects, *values)
    references = referring(values, kept)
    assert len({one.hash for one in kept}) == 3
    found = await read(subjects, references)
    assert sorted(map(json.dumps, found)) == sorted(json.dumps(json.loads(v.value)) for v in values)
    # Who has the id of a value and not its hash was never given the reference.
    assert await read(subjects, [pb.ValueReference(blob_id=values[0].blob_id, hash="a" * 26)]) == []
    # Nor is anything of one namespace in another.
    assert await read(subjects, references, namespace="prod") == []


async def test_the_same_again_is_the_same_and_another_value_is_a_conflict(
    subjects: SubjectStub,
) -> None:
    first = await keep(subjects, value())
    assert await keep(subjects, value()) == first
    assert [one.conflict for one in await keep(subjects, value(content="another"))] == [True]
    assert [one.conflict for one in await keep(subjects, value(subject="bob"))] == [True]
    assert await read(subjects, referring([value()], first)) == [CANARY]


async def test_equal_values_have_hashes_of_their_own(subjects: SubjectStub) -> None:
    one, other = await keep(subjects, value(1), value(2))
    assert one.hash != other.hash


async def test_no_table_holds_a_value_or_who_it_is_about(
    subjects: SubjectStub, postgres: Postgres
) -> None:
    await keep(subjects, value(subject=CANARY))
    await erase(subjects, subject=CANARY)
    found = await tables(postgres)
    assert "SubjectErased" in found
    for hidden in (CANARY, CANARY.encode().hex(), json.dumps(CANARY).encode().hex()):
        assert hidden not in found
    assert b"canary".hex() not in found


async def test_who_is_erased_is_unreadable_and_stays_so(subjects: SubjectStub) -> None:
    values = [value(1), value(2, subject="bob")]
    kept = await keep(subjects, *values)
    assert await erase(subjects)
    assert await read(subjects, referring(values, kept)) == [CANARY]  # bob's
    # The same request, and another one: there is nothing left to destroy.
    assert not await erase(subjects)
    assert not await erase(subjects, request_id="e-2")
    # The event that brought it comes once more: its reference is what it was, and stays unreadable.
    assert await keep(subjects, values[0]) == [kept[0]]
    assert await read(subjects, referring(values[:1], kept[:1])) == []


async def test_what_comes_after_an_erasure_has_a_key_of_its_own(subjects: SubjectStub) -> None:
    await keep(subjects, value(1))
    await erase(subjects)
    late = [value(2)]
    assert await read(subjects, referring(late, await keep(subjects, *late))) == [CANARY]
    answer = await subjects.GetSubject(pb.GetSubjectRequest(namespace="dev", subject="ada"))
    first, second = answer.subject.keys
    assert (first.erased_by, first.reason, first.values) == ("local/tester", "asked for it", 1)
    assert first.data_key == ""
    assert not second.HasField("erased_at")
    assert (second.values, second.data_key) == (1, "k1")
    assert await erase(subjects, request_id="e-2")


async def test_an_erasure_is_an_event_and_the_chain_holds_before_and_after(
    calls: Calls, subjects: SubjectStub, postgres: Postgres
) -> None:
    audit: audit_pb2_grpc.AuditServiceAsyncStub = audit_pb2_grpc.AuditServiceStub(
        await calls(Role.OPERATOR)
    )
    await keep(subjects, value())
    for request_id in ("e-1", "e-2"):
        await erase(subjects, request_id=request_id)
        async with postgres.transaction("dev") as transaction:
            (event,) = await transaction.fetch(
                "SELECT stream, version, convert_from(body, 'UTF8') AS body FROM events"
                " WHERE type = 'backbone.SubjectErased'"
            )
        told = json.loads(event["body"])
        assert event["stream"] == f"subject:{told['payload']['subject_ref']}"
        assert told["payload"]["values"] == 1
        assert told["payload"]["actor"] == "local/tester"
        assert told["payload"]["reason"] == "asked for it"
        verified = await audit.VerifyEvents(audit_pb2.VerifyEventsRequest(namespace="dev"))
        assert (verified.events, list(verified.findings)) == (1, [])


async def test_keeping_and_erasing_at_once_leave_nothing_half_done(subjects: SubjectStub) -> None:
    async def work(number: int) -> None:
        if number % 5 == 4:
            with contextlib.suppress(grpc.aio.AioRpcError):  # Nobody was known yet.
                await erase(subjects, request_id=f"e-{number}")
        else:
            one = [value(number, number)]
            kept = await keep(subjects, *one)
            assert await read(subjects, referring(one, kept)) in ([number], [])

    await asyncio.gather(*map(work, range(40)))
    await erase(subjects, request_id="last")
    answer = await subjects.GetSubject(pb.GetSubjectRequest(namespace="dev", subject="ada"))
    assert sum(key.values for key in answer.subject.keys) == 32
    again = [value(number, number) for number in range(40) if number % 5 != 4]
    assert await read(subjects, referring(again, await keep(subjects, *again))) == []


async def test_a_data_key_can_be_given_up_once_the_keys_of_people_are_wrapped_anew(
    opened: Callable[..., Awaitable[SubjectStub]], ring: Path
) -> None:
    before = await opened()
    values = [value(number, subject=f"s-{number}") for number in range(3)]
    kept = await keep(before, *values)
    turned(ring, "k1", "k2")
    after = await opened()
    answer = await after.RewrapSubjectKeys(pb.RewrapSubjectKeysRequest(namespace="dev"))
    assert (answer.rewrapped, answer.more) == (3, False)
    turned(ring, "k2")
    last = await opened()
    assert await read(last, referring(values, kept)) == [CANARY] * 3
    assert await keep(last, *values) == kept
    found = await last.GetSubject(pb.GetSubjectRequest(namespace="dev", subject="s-1"))
    assert [key.data_key for key in found.subject.keys] == ["k2"]


async def test_a_missing_data_key_is_told_and_changes_nothing(
    opened: Callable[..., Awaitable[SubjectStub]], ring: Path
) -> None:
    kept = await keep(await opened(), value())
    turned(ring, "k2")
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await read(await opened(), referring([value()], kept))
    assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "k1" in (failure.value.details() or "")


async def test_without_data_keys_nothing_is_kept(calls: Calls) -> None:
    stub: SubjectStub = pb_grpc.SubjectServiceStub(await calls())
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await keep(stub, value())
    assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "BACKBONE_DATA_KEYS" in (failure.value.details() or "")


async def test_what_a_person_is_shown_is_recorded_first(subjects: SubjectStub) -> None:
    references = referring([value()], await keep(subjects, value()))
    request = pb.RevealValuesRequest(
        namespace="dev", references=references, reason="a complaint", request_id="r-1"
    )
    for _ in range(2):
        answer = await subjects.RevealValues(request)
        assert [json.loads(one.value) for one in answer.values] == [CANARY]
    listed = await subjects.ListReveals(pb.ListRevealsRequest(namespace="dev"))
    (reveal,) = listed.reveals
    assert list(reveal.blob_ids) == [value().blob_id]
    assert (reveal.actor, reveal.reason) == ("local/tester", "a complaint")
    request.reason = ""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await subjects.RevealValues(request)
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "request_",
    [
        pb.KeepValuesRequest(namespace="mars"),
        pb.KeepValuesRequest(namespace="dev", values=[pb.SensitiveValue(blob_id="x")]),
        pb.KeepValuesRequest(namespace="dev", values=[value(subject="")]),
        pb.KeepValuesRequest(namespace="dev", values=[value(subject="x" * 600)]),
        pb.KeepValuesRequest(namespace="dev", values=[value()] * 1001),
        pb.ResolveValuesRequest(
            namespace="dev", references=[pb.ValueReference(blob_id=str(uuid.uuid4()))]
        ),
        pb.EraseSubjectRequest(namespace="dev", subject="ada", request_id="r"),
        pb.EraseSubjectRequest(namespace="dev", reason="r", request_id="r"),
    ],
)
async def test_what_is_malformed_is_refused_without_being_repeated(
    subjects: SubjectStub, request_: object
) -> None:
    method = type(request_).__name__.removesuffix("Request")
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await getattr(subjects, method)(request_)
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert CANARY not in (failure.value.details() or "")


async def test_a_value_that_was_moved_does_not_open(
    subjects: SubjectStub, postgres: Postgres
) -> None:
    values = [value(1, "first"), value(2, "second")]
    kept = await keep(subjects, *values)
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(
            "UPDATE sensitive_values AS one SET sealed = other.sealed"
            " FROM sensitive_values AS other WHERE one.blob_id = $1 AND other.blob_id = $2",
            uuid.UUID(values[0].blob_id),
            uuid.UUID(values[1].blob_id),
        )
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await read(subjects, referring(values[:1], kept[:1]))
    assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert os.fspath(values[0].blob_id) in (failure.value.details() or "")
