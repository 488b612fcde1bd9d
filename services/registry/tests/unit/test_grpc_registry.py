"""The gRPC edge over a real connection: every RPC, roles, statuses with their details, bounds."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from structlog.testing import capture_logs

from backbone.registry.v1 import registry_pb2 as pb
from backbone.registry.v1 import registry_pb2_grpc
from contracts.resources import ChangeKind, HeldEvents, ResourceKind, ResourceState
from contracts.roles import Role
from registry import errors
from registry.adapters import grpc_registry, messages
from registry.domain.differences import Difference, DifferenceKind
from registry.domain.due_changes import DueChange
from registry.domain.mending import DriftKind
from registry.domain.planning import Action, Prune
from registry.domain.resources import Change, Key, Resource
from registry.domain.validation import Source
from registry.errors import Located
from registry.service.drift import Drift, DriftReport, DriftService
from registry.service.outcomes import (
    Altered,
    ApplyOutcome,
    Bookmark,
    Diff,
    HistoryPage,
    Page,
    ResultRow,
    SnapshotStart,
)
from registry.service.resources import ResourceService
from runtime import grpcclient, rpcerrors
from runtime.errors import DatabaseUnavailableError
from runtime.grpcserver import GrpcServer
from runtime.identity import LocalAuthenticator

NOON = datetime(2026, 3, 1, 12, 0, 0, 250, tzinfo=UTC)
KEY = Key(ResourceKind.ACTIVITY_DEFINITION, "billing.overdue")
APPLIED = Change(6, KEY, ChangeKind.APPLIED, 2, ResourceState.ACTIVE, NOON, "local/ada", "why")
DISABLED = Change(
    9, KEY, ChangeKind.DISABLED, 3, ResourceState.DISABLED, NOON, "local/bob", "stop it"
)
CONTENT = b'{"metadata":{"owner":"billing"}}'
RESOURCE = Resource("dev", KEY, 2, CONTENT, "ab" * 32, APPLIED, DISABLED, 3)

_DEFINITION = pb.RESOURCE_KIND_ACTIVITY_DEFINITION


class Scripted:
    """Use cases that note how they are called, and answer or fail as they are told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answer: Any = None

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **fields: Any) -> Any:
            self.calls.append((name, arguments, fields))
            return self._stream() if name == "watch" else self._answered()

        return call

    async def _answered(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def _stream(self) -> AsyncIterator[Any]:
        for item in await self._answered():
            yield item


@pytest.fixture
def scripted() -> Any:
    return Scripted()


@pytest.fixture
async def connect(scripted: Any) -> AsyncIterator[Any]:
    """Connects to a registry, as somebody with the given roles."""
    opened = []

    async def call(*roles: Role) -> Any:
        server = GrpcServer(
            listen="127.0.0.1:0",
            services=[grpc_registry.grpc_service(scripted, scripted)],
            authenticator=LocalAuthenticator(frozenset(roles or Role)),
            grace=timedelta(seconds=5),
        )
        await server.start()
        channel = grpcclient.channel(f"127.0.0.1:{server.port}", actor="ada")
        opened.append((server, channel))
        return registry_pb2_grpc.RegistryServiceStub(channel)

    yield call
    for server, channel in opened:
        await channel.close()
        await server.stop()


@pytest.fixture
async def registry(connect: Callable[..., Awaitable[Any]]) -> Any:
    return await connect()


async def refusal(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


def detail(error: grpc.aio.AioRpcError, message: Any) -> Any:
    assert rpcerrors.detail_of(error, message), f"no {type(message).__name__} in {error}"
    return message


def get_request(**fields: Any) -> Any:
    return pb.GetResourceRequest(
        **{"namespace": "dev", "kind": _DEFINITION, "resource_id": "billing.overdue", **fields}
    )


async def test_resource_comes_back_whole(registry: Any, scripted: Scripted) -> None:
    scripted.answer = RESOURCE
    resource = (await registry.GetResource(get_request(version=2))).resource
    assert (resource.namespace, resource.resource_id) == ("dev", "billing.overdue")
    assert (resource.kind, resource.state) == (_DEFINITION, pb.RESOURCE_STATE_DISABLED)
    assert (resource.version, resource.current_version) == (2, 3)
    assert (resource.content, resource.content_sha256) == (CONTENT, "ab" * 32)
    assert resource.etag == RESOURCE.etag
    assert (resource.applied.revision, resource.applied.change) == (6, pb.CHANGE_KIND_APPLIED)
    latest = resource.latest
    assert (latest.revision, latest.change) == (9, pb.CHANGE_KIND_DISABLED)
    assert (latest.actor, latest.reason) == ("local/bob", "stop it")
    assert latest.at.ToDatetime(UTC) == NOON
    assert scripted.calls == [
        ("get", ("dev", KEY.kind, "billing.overdue"), {"version": 2, "as_of": None})
    ]


async def test_resource_that_changed_since_it_was_read_is_not_answered_from_before(
    registry: Any, scripted: Scripted
) -> None:
    scripted.answer = replace(RESOURCE, latest=APPLIED)
    assert (await registry.GetResource(get_request())).resource.latest.revision == 6
    scripted.answer = RESOURCE
    assert (await registry.GetResource(get_request())).resource.latest.revision == 9


async def test_resource_is_asked_for_as_it_was(registry: Any, scripted: Scripted) -> None:
    scripted.answer = RESOURCE
    as_of = Timestamp()
    as_of.FromDatetime(NOON)
    await registry.GetResource(get_request(as_of=as_of))
    assert scripted.calls[0][2]["as_of"] == NOON


async def test_set_of_documents_is_applied_as_asked_for(registry: Any, scripted: Scripted) -> None:
    scripted.answer = ApplyOutcome(
        results=[
            ResultRow(
                "a.yaml",
                Action.UPDATE,
                RESOURCE,
                [
                    Difference(
                        DifferenceKind.CHANGED, "spec.taskQueue", "the queue changes", "a-tq", None
                    )
                ],
                [DueChange(DifferenceKind.ADDED, "hourly", (), (NOON,))],
            ),
            ResultRow("", Action.PRUNE, RESOURCE, [], []),
        ],
        problems=[],
        plan_sha256="cd" * 32,
        revision=9,
    )
    response = await registry.ApplyResources(
        pb.ApplyResourcesRequest(
            namespace="dev",
            documents=[
                pb.Document(content=b"one", name="a.yaml", etag="e"),
                pb.Document(content=b"two"),
            ],
            prune=True,
            prune_owner="billing",
            plan_sha256="cd" * 32,
            request_id="r1",
            reason="why",
        )
    )
    ((_, (sources,), fields),) = scripted.calls
    assert sources == [Source("a.yaml", b"one", "e"), Source("2", b"two", "")]
    assert fields == {
        "namespace": "dev",
        "actor": "local/ada",
        "reason": "why",
        "validate_only": False,
        "prune": Prune("billing"),
        "plan_sha256": "cd" * 32,
        "request_id": "r1",
    }
    updated, pruned = response.results
    assert (updated.document, updated.action) == ("a.yaml", pb.APPLY_ACTION_UPDATE)
    assert (pruned.document, pruned.action) == ("", pb.APPLY_ACTION_PRUNE)
    assert updated.resource.etag == RESOURCE.etag
    assert updated.resource.content == b""
    (difference,) = updated.differences
    assert (difference.path, difference.summary) == ("spec.taskQueue", "the queue changes")
    assert (difference.before, difference.after) == (b'"a-tq"', b"")
    (schedule,) = updated.schedules
    assert (schedule.kind, schedule.trigger) == (pb.DIFFERENCE_KIND_ADDED, "hourly")
    assert [due.ToDatetime(UTC) for due in schedule.due_after] == [NOON]
    assert (response.plan_sha256, response.revision) == ("cd" * 32, 9)


async def test_every_change_is_logged_and_nothing_else(registry: Any, scripted: Scripted) -> None:
    rows = [
        ResultRow("a", Action.UPDATE, RESOURCE, [], []),
        ResultRow("b", Action.UNCHANGED, RESOURCE, [], []),
    ]
    scripted.answer = ApplyOutcome(rows, [], "", 9)
    with capture_logs() as logged:
        await registry.ApplyResources(pb.ApplyResourcesRequest(reason="why"))
        await registry.ApplyResources(pb.ApplyResourcesRequest(reason="why", validate_only=True))
        scripted.answer = Altered(RESOURCE, changed=False)
        await registry.DisableDefinition(pb.DisableDefinitionRequest())
    (entry,) = [entry for entry in logged if entry["event"] == "resource_changed"]
    assert (entry["resource_id"], entry["change"]) == ("billing.overdue", "disabled")
    assert (entry["revision"], entry["actor"]) == (9, "local/bob")


async def test_validation_returns_all_problems(registry: Any, scripted: Scripted) -> None:
    problems = [Located(f"{n}.yaml", "spec", "is wrong", n, 7) for n in range(1, 1001)]
    scripted.answer = ApplyOutcome([], problems, "", 4)
    response = await registry.ApplyResources(
        pb.ApplyResourcesRequest(validate_only=True, reason="why")
    )
    assert len(response.problems) == 1000
    last = response.problems[-1]
    assert (last.document, last.path, last.message) == ("1000.yaml", "spec", "is wrong")
    assert (last.line, last.column) == (1000, 7)


async def test_applied_set_is_answered_even_if_its_details_do_not_fit(
    registry: Any, scripted: Scripted
) -> None:
    large = Difference(DifferenceKind.ADDED, "spec", "it is new", None, "x" * 10_000)
    rows = [ResultRow(str(n), Action.CREATE, RESOURCE, [large], []) for n in range(1000)]
    scripted.answer = ApplyOutcome(rows, [], "", 9)
    response = await registry.ApplyResources(pb.ApplyResourcesRequest(reason="why"))
    assert len(response.results) == 1000
    assert response.results[0].differences[0].summary == "it is new"
    assert response.results[0].differences[0].after == b""
    assert response.ByteSize() <= messages.MAX_ANSWER_BYTES


async def test_page_is_listed_as_asked_for(registry: Any, scripted: Scripted) -> None:
    scripted.answer = Page([RESOURCE], "next")
    response = await registry.ListResources(
        pb.ListResourcesRequest(
            namespace="dev",
            kind=pb.RESOURCE_KIND_PRODUCER,
            page_size=7,
            page_token="here",
            show_retired=True,
            owner="billing",
        )
    )
    assert [resource.content for resource in response.resources] == [CONTENT]
    assert response.next_page_token == "next"
    ((_, arguments, fields),) = scripted.calls
    assert arguments == ("dev", ResourceKind.PRODUCER)
    assert fields == {
        "page_size": 7,
        "page_token": "here",
        "as_of": None,
        "show_retired": True,
        "owner": "billing",
    }


async def test_mask_leaves_only_what_was_asked_for(registry: Any, scripted: Scripted) -> None:
    scripted.answer = Page([RESOURCE], "")
    response = await registry.ListResources(
        pb.ListResourcesRequest(
            namespace="dev",
            kind=_DEFINITION,
            read_mask=FieldMask(paths=["resource_id", "latest.actor"]),
        )
    )
    (resource,) = response.resources
    assert resource == pb.Resource(
        resource_id="billing.overdue", latest=pb.Change(actor="local/bob")
    )


async def test_a_mask_of_very_many_paths_is_refused(registry: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="1000 paths, more than the 100"):
        await registry.ListResources(
            pb.ListResourcesRequest(
                namespace="dev",
                kind=pb.RESOURCE_KIND_ACTIVITY_DEFINITION,
                read_mask=FieldMask(paths=["version"] * 1000),
            )
        )


async def test_field_that_a_mask_cannot_name_is_refused(registry: Any, scripted: Scripted) -> None:
    error = await refusal(
        registry.ListResources(
            pb.ListResourcesRequest(
                namespace="dev",
                kind=_DEFINITION,
                read_mask=FieldMask(paths=["version", "contents"]),
            )
        )
    )
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "'contents'" in error.details()
    assert "content, content_sha256" in error.details()
    assert detail(error, error_details_pb2.BadRequest()).field_violations[0].field == "read_mask"
    assert scripted.calls == []


async def test_changes_of_one_resource_or_of_all_are_listed(
    registry: Any, scripted: Scripted
) -> None:
    scripted.answer = HistoryPage([DISABLED, APPLIED], "more")
    response = await registry.ListChanges(
        pb.ListChangesRequest(namespace="dev", kind=_DEFINITION, resource_id="a", page_size=2)
    )
    assert [change.revision for change in response.changes] == [9, 6]
    assert response.changes[0].version == 3
    assert response.next_page_token == "more"
    await registry.ListChanges(pb.ListChangesRequest(namespace="dev"))
    assert [arguments for _, arguments, _ in scripted.calls] == [
        ("dev", KEY.kind, "a"),
        ("dev", None, ""),
    ]


async def test_versions_are_compared(registry: Any, scripted: Scripted) -> None:
    added = Difference(DifferenceKind.ADDED, "spec.rules[remind]", "rule remind is new", None, {})
    scripted.answer = Diff(1, 3, [added])
    response = await registry.DiffVersions(
        pb.DiffVersionsRequest(namespace="dev", kind=_DEFINITION, resource_id="a", from_version=1)
    )
    assert (response.from_version, response.to_version) == (1, 3)
    (difference,) = response.differences
    assert (difference.kind, difference.after) == (pb.DIFFERENCE_KIND_ADDED, b"{}")
    assert scripted.calls[0][2] == {"from_version": 1, "to_version": 0}


@pytest.mark.parametrize(
    ("method", "request_of", "use_case", "arguments"),
    [
        (
            "ActivateVersion",
            pb.ActivateVersionRequest(
                namespace="dev", kind=pb.RESOURCE_KIND_EVENT_TYPE, resource_id="a", version=1
            ),
            "activate",
            ("dev", ResourceKind.EVENT_TYPE, "a"),
        ),
        (
            "DisableDefinition",
            pb.DisableDefinitionRequest(namespace="dev", definition_id="a"),
            "disable",
            ("dev", "a"),
        ),
        (
            "EnableDefinition",
            pb.EnableDefinitionRequest(
                namespace="dev", definition_id="a", held=pb.HELD_EVENTS_DISCARD
            ),
            "enable",
            ("dev", "a"),
        ),
        (
            "RetireResource",
            pb.RetireResourceRequest(
                namespace="dev", kind=pb.RESOURCE_KIND_PRODUCER, resource_id="a"
            ),
            "retire",
            ("dev", ResourceKind.PRODUCER, "a"),
        ),
    ],
)
async def test_change_of_a_state_is_asked_for_by_actor_and_reason(  # noqa: PLR0917 - a table
    registry: Any,
    scripted: Scripted,
    method: str,
    request_of: Any,
    use_case: str,
    arguments: tuple[Any, ...],
) -> None:
    request_of.etag, request_of.request_id, request_of.reason = "e", "r1", "why"
    scripted.answer = Altered(RESOURCE, changed=True)
    response = await getattr(registry, method)(request_of)
    assert response.changed
    assert response.resource.latest.revision == 9
    ((name, given, fields),) = scripted.calls
    assert (name, given) == (use_case, arguments)
    assert fields.pop("version", 1) == 1
    assert fields.pop("held", HeldEvents.DISCARD) is HeldEvents.DISCARD
    assert fields == {"etag": "e", "request_id": "r1", "actor": "local/ada", "reason": "why"}


async def test_watch_tells_snapshot_changes_and_bookmarks(
    registry: Any, scripted: Scripted
) -> None:
    retired = replace(RESOURCE, content=b"", latest=replace(DISABLED, state=ResourceState.RETIRED))
    scripted.answer = [SnapshotStart(), RESOURCE, Bookmark(9), retired]
    watch = registry.WatchResources(
        pb.WatchResourcesRequest(
            namespace="dev", after_revision=4, kinds=[pb.RESOURCE_KIND_EVENT_TYPE]
        )
    )
    told = [response async for response in watch]
    assert [response.WhichOneof("change") for response in told] == [
        "snapshot_start",
        "resource",
        "bookmark",
        "resource",
    ]
    assert told[1].resource.content == CONTENT
    assert told[2].bookmark.revision == 9
    assert told[3].resource.state == pb.RESOURCE_STATE_RETIRED
    assert scripted.calls == [
        ("watch", ("dev",), {"after_revision": 4, "kinds": [ResourceKind.EVENT_TYPE]})
    ]


async def test_drift_is_reported(registry: Any, scripted: Scripted) -> None:
    drift = Drift("a", DriftKind.MISSING, "there is none", 4, NOON)
    ghost = Drift("b", DriftKind.UNEXPECTED, "there is one", 0, None)
    scripted.answer = DriftReport([drift, ghost], 12)
    response = await registry.GetDrift(pb.GetDriftRequest(namespace="dev"))
    assert response.scheduled_definitions == 12
    first, second = response.drifts
    assert (first.definition_id, first.kind, first.revision) == ("a", pb.DRIFT_KIND_MISSING, 4)
    assert first.attempted_at.ToDatetime(UTC) == NOON
    assert not second.HasField("attempted_at")


async def test_drift_of_everything_still_fits_into_an_answer(
    registry: Any, scripted: Scripted
) -> None:
    drifts = [
        Drift(f"billing.some-definition-{n}", DriftKind.REFUSED, "no " * 90, n, NOON)
        for n in range(20_000)
    ]
    scripted.answer = DriftReport(drifts, 20_000)
    response = await registry.GetDrift(pb.GetDriftRequest(namespace="dev"))
    told = len(response.drifts) - 1
    assert told > 5000
    assert response.drifts[-1].detail == f"{20_000 - told} more definitions drift"


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (errors.ResourceNotFoundError("dev", "a"), "NOT_FOUND", "RESOURCE_NOT_FOUND"),
        (errors.NamespaceNotServedError("x", ["dev"]), "NOT_FOUND", "NAMESPACE_NOT_SERVED"),
        (errors.EtagMismatchError("a", "version 2 is current"), "ABORTED", "ETAG_MISMATCH"),
        (errors.PlanMismatchError(), "ABORTED", "PLAN_MISMATCH"),
        (errors.StateError("it is retired"), "FAILED_PRECONDITION", "WRONG_STATE"),
        (errors.ResourceInUseError("a", ["b"]), "FAILED_PRECONDITION", "RESOURCE_IN_USE"),
        (errors.LimitReachedError("20000 is the limit"), "RESOURCE_EXHAUSTED", "LIMIT_REACHED"),
        (errors.RequestIdReusedError("r1"), "ALREADY_EXISTS", "REQUEST_ID_REUSED"),
        (errors.InvalidRequestError("reason", "is missing"), "INVALID_ARGUMENT", "INVALID_REQUEST"),
        (errors.InvalidDocumentsError([]), "INVALID_ARGUMENT", "INVALID_DOCUMENTS"),
        (
            errors.NeighbourUnavailableError("Temporal", "refused"),
            "UNAVAILABLE",
            "NEIGHBOUR_UNAVAILABLE",
        ),
        (DatabaseUnavailableError("the database is away"), "UNAVAILABLE", "UNAVAILABLE"),
    ],
)
async def test_each_refusal_has_its_status_and_reason(
    registry: Any, scripted: Scripted, error: Exception, status: str, reason: str
) -> None:
    scripted.answer = error
    for call in (
        registry.GetResource(get_request()),
        registry.WatchResources(pb.WatchResourcesRequest(namespace="dev")).read(),
        registry.RetireResource(pb.RetireResourceRequest(namespace="dev", kind=_DEFINITION)),
    ):
        caught = await refusal(call)
        assert caught.code().name == status
        assert caught.details().startswith(str(error)[:100])
        info = detail(caught, error_details_pb2.ErrorInfo())
        assert (info.reason, info.domain) == (reason, "backbone")


def test_every_error_that_callers_can_meet_is_in_the_table_above() -> None:
    inner = {
        *(errors.MaterialisationError, errors.LeadershipLostError, errors.WakeupMovedError),
        errors.RegistryError,
    }
    own = {
        error
        for _, error in inspect.getmembers(errors, inspect.isclass)
        if issubclass(error, errors.RegistryError)
    }
    (table,) = test_each_refusal_has_its_status_and_reason.pytestmark  # type: ignore[attr-defined]
    assert {type(row[0]) for row in table.args[1]} >= own - inner


async def test_who_is_told_that_something_is_away_is_told_when_to_come_again(
    registry: Any, scripted: Scripted
) -> None:
    for error in (
        DatabaseUnavailableError("away"),
        errors.NeighbourUnavailableError("Temporal", "refused"),
    ):
        scripted.answer = error
        caught = await refusal(registry.GetDrift(pb.GetDriftRequest(namespace="dev")))
        assert caught.code() is grpc.StatusCode.UNAVAILABLE
        assert detail(caught, error_details_pb2.RetryInfo()).retry_delay.ToMilliseconds() > 0
    assert caught.details().startswith("Temporal does not answer")


async def test_problems_travel_as_details(registry: Any, scripted: Scripted) -> None:
    scripted.answer = errors.InvalidDocumentsError(
        [
            Located("a.yaml", "metadata.owner", "owner is required", 3, 1),
            Located("b.yaml", "", "the document is not YAML"),
        ]
    )
    caught = await refusal(registry.ApplyResources(pb.ApplyResourcesRequest(reason="why")))
    assert caught.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.details().startswith("the documents have 2 problems: a.yaml:3:1: metadata.owner")
    documents = detail(caught, pb.InvalidDocuments())
    assert documents.total == 2
    first, second = documents.problems
    assert (first.document, first.path, first.line, first.column) == (
        "a.yaml",
        "metadata.owner",
        3,
        1,
    )
    assert second.message == "the document is not YAML"
    violations = detail(caught, error_details_pb2.BadRequest()).field_violations
    assert [(violation.field, violation.description) for violation in violations] == [
        ("a.yaml: metadata.owner", "owner is required"),
        ("b.yaml", "the document is not YAML"),
    ]


@pytest.mark.parametrize("letter", ["x", "ü", "😀"])
async def test_thousands_of_problems_still_fit_into_an_answer(
    registry: Any, scripted: Scripted, letter: str
) -> None:
    scripted.answer = errors.InvalidDocumentsError(
        [Located(letter * 300, letter * 500, letter * 2000, n, 1) for n in range(1000)]
    )
    caught = await refusal(registry.ApplyResources(pb.ApplyResourcesRequest(reason="why")))
    assert caught.code() is grpc.StatusCode.INVALID_ARGUMENT
    documents = detail(caught, pb.InvalidDocuments())
    assert documents.total == 1000
    assert documents.problems
    assert detail(caught, error_details_pb2.ErrorInfo()).reason == "INVALID_DOCUMENTS"


async def test_violated_precondition_names_who_is_in_the_way(
    registry: Any, scripted: Scripted
) -> None:
    scripted.answer = errors.ResourceInUseError("billing.paid", ["billing.overdue", "crm.call"])
    caught = await refusal(
        registry.RetireResource(
            pb.RetireResourceRequest(namespace="dev", kind=pb.RESOURCE_KIND_EVENT_TYPE)
        )
    )
    violations = detail(caught, error_details_pb2.PreconditionFailure()).violations
    assert {violation.type for violation in violations} == {"RESOURCE_IN_USE"}
    assert [violation.subject for violation in violations] == [
        "billing.paid",
        "billing.overdue",
        "crm.call",
    ]


@pytest.mark.parametrize(
    ("method", "request_of", "field"),
    [
        ("GetResource", pb.GetResourceRequest(namespace="dev"), "kind"),
        ("GetResource", pb.GetResourceRequest(namespace="dev", kind=99), "kind"),  # type: ignore[arg-type]
        (
            "GetResource",
            pb.GetResourceRequest(kind=_DEFINITION, as_of=Timestamp(seconds=10**14)),
            "as_of",
        ),
        ("ListChanges", pb.ListChangesRequest(kind=99), "kind"),  # type: ignore[arg-type]
        ("ApplyResources", pb.ApplyResourcesRequest(prune_owner="billing"), "prune_owner"),
    ],
)
async def test_field_that_cannot_be_used_is_named(
    registry: Any, scripted: Scripted, method: str, request_of: Any, field: str
) -> None:
    caught = await refusal(getattr(registry, method)(request_of))
    assert caught.code() is grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = detail(caught, error_details_pb2.BadRequest()).field_violations
    assert violation.field == field
    assert scripted.calls == []


async def test_request_of_five_megabytes_is_refused_and_the_connection_lives(
    registry: Any, scripted: Scripted
) -> None:
    documents = [pb.Document(content=b"x" * 250_000) for _ in range(20)]
    caught = await refusal(
        registry.ApplyResources(pb.ApplyResourcesRequest(documents=documents, reason="why"))
    )
    assert caught.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert scripted.calls == []
    scripted.answer = RESOURCE
    assert (await registry.GetResource(get_request())).resource.version == 2


def _requests(registry: Any, kind: Any = pb.RESOURCE_KIND_UNSPECIFIED) -> dict[str, Any]:
    """Call every RPC."""
    empty = {
        "ApplyResources": pb.ApplyResourcesRequest(),
        "GetResource": pb.GetResourceRequest(kind=kind),
        "ListResources": pb.ListResourcesRequest(kind=kind),
        "ListChanges": pb.ListChangesRequest(kind=kind),
        "DiffVersions": pb.DiffVersionsRequest(kind=kind),
        "ActivateVersion": pb.ActivateVersionRequest(kind=kind),
        "DisableDefinition": pb.DisableDefinitionRequest(),
        "EnableDefinition": pb.EnableDefinitionRequest(),
        "RetireResource": pb.RetireResourceRequest(kind=kind),
        "GetDrift": pb.GetDriftRequest(),
    }
    calls = {name: getattr(registry, name)(request) for name, request in empty.items()}
    calls["WatchResources"] = registry.WatchResources(pb.WatchResourcesRequest()).read()
    return calls


_READ = {"GetResource", "ListResources", "ListChanges", "DiffVersions"}


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (
            Role.AUTHOR,
            {
                *_READ,
                "ApplyResources",
                "ActivateVersion",
                "RetireResource",
                "DisableDefinition",
                "EnableDefinition",
            },
        ),
        (
            Role.OPERATOR,
            {*_READ, "DisableDefinition", "EnableDefinition", "WatchResources", "GetDrift"},
        ),
        (Role.VIEWER, {*_READ, "WatchResources", "GetDrift"}),
        (Role.SERVICE, {*_READ, "WatchResources"}),
        (Role.TASK_WORKER, set()),
    ],
)
async def test_each_role_may_call_what_it_needs_and_no_more(
    connect: Callable[..., Awaitable[Any]], scripted: Scripted, role: Role, allowed: set[str]
) -> None:
    scripted.answer = errors.StateError("called")
    registry = await connect(role)
    for method, call in _requests(registry).items():
        code = (await refusal(call)).code()
        denied = code is grpc.StatusCode.PERMISSION_DENIED
        assert denied == (method not in allowed), f"{role} calls {method}: {code}"


def test_every_rpc_has_a_policy() -> None:
    methods = pb.DESCRIPTOR.services_by_name["RegistryService"].methods_by_name
    assert set(grpc_registry.POLICY) == {f"/{grpc_registry.NAME}/{method}" for method in methods}


async def test_the_use_cases_are_called_as_they_are_declared(
    registry: Any, scripted: Scripted
) -> None:
    """What stands for them here takes any argument."""
    scripted.answer = errors.StateError("called")
    for request, call in _requests(registry, kind=_DEFINITION).items():
        assert (await refusal(call)).code() is grpc.StatusCode.FAILED_PRECONDITION, request
    declared = {
        name: inspect.signature(function)
        for cases in (ResourceService, DriftService)
        for name, function in inspect.getmembers(cases, inspect.isfunction)
    }
    assert len(scripted.calls) == 11
    for name, arguments, fields in scripted.calls:
        declared[name].bind(None, *arguments, **fields)


async def test_watch_ends_when_the_caller_leaves(
    registry: Any, scripted: Scripted, until: Callable[..., Awaitable[None]]
) -> None:
    left = asyncio.Event()

    async def endless() -> AsyncIterator[Any]:
        try:
            yield SnapshotStart()
            await asyncio.Event().wait()
        finally:
            left.set()

    scripted._stream = endless  # type: ignore[method-assign]
    watch = registry.WatchResources(pb.WatchResourcesRequest(namespace="dev"))
    assert (await watch.read()).HasField("snapshot_start")
    watch.cancel()
    await until(left.is_set, "the use case was let go")
