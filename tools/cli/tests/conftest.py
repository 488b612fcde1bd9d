"""A registry in memory that behaves as its proto says, for tests over real gRPC."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest
import yaml
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from backbone.registry.v1 import registry_pb2 as pb
from backbone.registry.v1 import registry_pb2_grpc
from contracts.names import Metadata
from runtime import rpcerrors

BEGINNING = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
KINDS = {
    "ActivityDefinition": pb.RESOURCE_KIND_ACTIVITY_DEFINITION,
    "EventType": pb.RESOURCE_KIND_EVENT_TYPE,
    "Producer": pb.RESOURCE_KIND_PRODUCER,
}
FIT_INTO_DETAIL = 5

Key = tuple[str, int, str]


def fail(context: Any, error: rpcerrors.RpcError) -> NoReturn:
    """End the call as Backbone's server does."""
    details = rpcerrors.status_details(error)
    context.set_trailing_metadata(((rpcerrors.DETAILS_KEY, details),))
    context.abort(error.code, error.message)
    raise AssertionError


def stamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


class FakeRegistry(registry_pb2_grpc.RegistryServiceServicer):
    """Keeps every version and every change; each change is a second after the one before.

    A document with `broken: N` has N problems, and `spoiled` is how many more each has now; an
    event type is in use while the `uses` of a definition that is not retired name it.
    """

    def __init__(self) -> None:
        self.versions: dict[Key, list[pb.Resource]] = {}
        self.changes: list[tuple[str, pb.Change]] = []
        self.held: list[int] = []
        self.requests: dict[str, tuple[bytes, Message]] = {}
        self.applies: list[pb.ApplyResourcesRequest] = []
        self.drifts: list[pb.Drift] = []
        self.away = False
        self.forgets = False
        self.spoiled = 0
        self.between: Callable[[], None] | None = None
        self.watches = 0
        self._cut = 0
        self.changed = threading.Condition(threading.RLock())

    # What tests look at and turn.

    def head(self, resource_id: str, kind: str = "ActivityDefinition") -> pb.Resource | None:
        return self._of(("dev", KINDS[kind], resource_id))

    def put(self, document: dict[str, Any], *, actor: str = "bob", reason: str = "") -> None:
        """Store a document as somebody else would."""
        with self.changed:
            key, content = self._read(json.dumps(document).encode())
            self._store(key, content, actor, reason)

    def cut_watches(self) -> None:
        """End every watch as a registry does that goes away."""
        with self.changed:
            self._cut += 1
            self.changed.notify_all()

    # The calls.

    def ApplyResources(self, request: Any, context: Any) -> Any:
        self._here(context)
        with self.changed:
            self.applies.append(request)
            self._require_reason(request, context)
            problems = self._problems(request)
            if problems and request.validate_only:
                return pb.ApplyResourcesResponse(problems=problems)
            if problems:
                self._invalid(context, problems)
            if not request.validate_only and self.between is not None:
                self.between()
                self.between = None
                problems = self._problems(request)
                if problems:
                    self._invalid(context, problems)
            known = self._known(request, context)
            if known is not None:
                return known
            response = self._planned(request, context)
            if request.plan_sha256 not in ("", response.plan_sha256):
                fail(
                    context,
                    rpcerrors.AbortedError(
                        "something has changed since the plan was made: plan again and look at "
                        "what it says now",
                        reason="PLAN_MISMATCH",
                    ),
                )
            if not request.validate_only:
                self._carry_out(request, response, self._actor(context))
                self._remember(request, response)
            return response

    def GetResource(self, request: Any, context: Any) -> Any:
        self._here(context)
        key = (request.namespace, request.kind, request.resource_id)
        found = self._at(key, request.as_of) if request.HasField("as_of") else self._of(key)
        if found is not None and request.version:
            versions = self.versions[key]
            if request.version > len(versions):
                found = None
            else:
                version = pb.Resource()
                version.CopyFrom(found)
                version.MergeFrom(versions[request.version - 1])
                found = version
        if found is None:
            fail(context, rpcerrors.NotFoundError(f"there is no {request.resource_id!r} in 'dev'"))
        return pb.GetResourceResponse(resource=found)

    def ListResources(self, request: Any, context: Any) -> Any:
        """One a page, so that whoever asks has to turn pages."""
        self._here(context)
        keys = sorted(k for k in self.versions if k[:2] == (request.namespace, request.kind))
        found = [
            self._at(key, request.as_of) if request.HasField("as_of") else self._of(key)
            for key in keys
        ]
        kept = [
            one
            for one in found
            if one is not None
            and (request.show_retired or one.state != pb.RESOURCE_STATE_RETIRED)
            and request.owner in ("", json.loads(one.content)["metadata"]["owner"])
        ]
        at = int(request.page_token or 0)
        return pb.ListResourcesResponse(
            resources=kept[at : at + 1],
            next_page_token=str(at + 1) if at + 1 < len(kept) else "",
        )

    def ListChanges(self, request: Any, context: Any) -> Any:
        """Two a page, the newest first."""
        self._here(context)
        if bool(request.kind) != bool(request.resource_id):
            fail(context, rpcerrors.InvalidArgumentError("kind: with a resource_id or without one"))
        found = [
            change
            for namespace, change in reversed(self.changes)
            if namespace == request.namespace
            and request.resource_id in ("", change.resource_id)
            and request.kind in (0, change.kind)
        ]
        at = int(request.page_token or 0)
        return pb.ListChangesResponse(
            changes=found[at : at + 2],
            next_page_token=str(at + 2) if at + 2 < len(found) else "",
        )

    def DiffVersions(self, request: Any, context: Any) -> Any:
        versions = self.versions.get((request.namespace, request.kind, request.resource_id), [])
        to = request.to_version or len(versions)
        before = request.from_version or to - 1
        if not 1 <= before <= len(versions) or to > len(versions):
            fail(context, rpcerrors.NotFoundError(f"there is no version {before}"))
        return pb.DiffVersionsResponse(
            from_version=before,
            to_version=to,
            differences=_differences(versions[before - 1].content, versions[to - 1].content),
        )

    def ActivateVersion(self, request: Any, context: Any) -> Any:
        key = (request.namespace, request.kind, request.resource_id)
        with self.changed:
            known = self._known(request, context)
            if known is not None:
                return known
            head = self._checked(key, request, context)
            stored = self.versions[key]
            if request.version > len(stored):
                fail(context, rpcerrors.NotFoundError(f"there is no version {request.version}"))
            if b"broken" in stored[request.version - 1].content:
                self._invalid(context, [pb.Problem(document=key[2], message="it cannot run now")])
            changed = head.version != request.version
            if changed:
                self._happened(
                    key,
                    pb.CHANGE_KIND_ACTIVATED,
                    version=request.version,
                    state=head.state,
                    request=request,
                    context=context,
                )
            return self._remember(
                request, pb.ActivateVersionResponse(resource=self._of(key), changed=changed)
            )

    def DisableDefinition(self, request: Any, context: Any) -> Any:
        return self._switch(
            request,
            context,
            pb.RESOURCE_STATE_DISABLED,
            pb.CHANGE_KIND_DISABLED,
            pb.DisableDefinitionResponse,
        )

    def EnableDefinition(self, request: Any, context: Any) -> Any:
        self.held.append(request.held)
        return self._switch(
            request,
            context,
            pb.RESOURCE_STATE_ACTIVE,
            pb.CHANGE_KIND_ENABLED,
            pb.EnableDefinitionResponse,
        )

    def RetireResource(self, request: Any, context: Any) -> Any:
        key = (request.namespace, request.kind, request.resource_id)
        with self.changed:
            known = self._known(request, context)
            if known is not None:
                return known
            head = self._checked(key, request, context)
            users = self._users(key)
            if users:
                failure = error_details_pb2.PreconditionFailure()
                for user in users:
                    failure.violations.add(type="IN_USE", subject=user)
                fail(
                    context,
                    rpcerrors.FailedPreconditionError(
                        f"'{key[2]}' is still needed by {users[0]}: change or retire them first",
                        reason="RESOURCE_IN_USE",
                        details=[failure],
                    ),
                )
            changed = head.state != pb.RESOURCE_STATE_RETIRED
            if changed:
                self._happened(
                    key,
                    pb.CHANGE_KIND_RETIRED,
                    version=head.version,
                    state=pb.RESOURCE_STATE_RETIRED,
                    request=request,
                    context=context,
                )
            return self._remember(
                request, pb.RetireResourceResponse(resource=self._of(key), changed=changed)
            )

    def WatchResources(self, request: Any, context: Any) -> Iterator[Any]:
        self._here(context)
        told = request.after_revision
        batch = []
        with self.changed:
            self.watches += 1
            cut = self._cut
            if not told or self.forgets:
                batch.append(pb.WatchResourcesResponse(snapshot_start=pb.SnapshotStart()))
                batch += [
                    pb.WatchResourcesResponse(resource=head)
                    for head in self._heads(request)
                    if head.state != pb.RESOURCE_STATE_RETIRED
                ]
                told = self._revision(request.namespace)
            batch.append(pb.WatchResourcesResponse(bookmark=pb.Bookmark(revision=told)))
        while context.is_active():
            yield from batch
            with self.changed:
                if cut != self._cut:
                    fail(context, rpcerrors.UnavailableError("the registry is shutting down"))
                batch = list(self._news(request, told))
                told = max(told, self._revision(request.namespace))
                if not batch:
                    self.changed.wait(0.05)

    def GetDrift(self, request: Any, context: Any) -> Any:
        return pb.GetDriftResponse(drifts=self.drifts, scheduled_definitions=3)

    # How it keeps its promises.

    def _here(self, context: Any) -> None:
        if self.away:
            fail(context, rpcerrors.UnavailableError("PostgreSQL cannot be reached"))

    def _actor(self, context: Any) -> str:
        return str(dict(context.invocation_metadata())[Metadata.ACTOR])

    def _revision(self, namespace: str) -> int:
        return max((c.revision for n, c in self.changes if n == namespace), default=0)

    def _of(self, key: Key) -> pb.Resource | None:
        changes = [c for n, c in self.changes if (n, c.kind, c.resource_id) == key]
        return self._made(key, changes[-1]) if changes else None

    def _at(self, key: Key, moment: Timestamp) -> pb.Resource | None:
        changes = [
            c
            for n, c in self.changes
            if (n, c.kind, c.resource_id) == key and c.at.ToDatetime() <= moment.ToDatetime()
        ]
        return self._made(key, changes[-1]) if changes else None

    def _made(self, key: Key, latest: pb.Change) -> pb.Resource:
        made = pb.Resource()
        made.CopyFrom(self.versions[key][latest.version - 1])
        made.latest.CopyFrom(latest)
        made.state = latest.state
        made.current_version = latest.version
        made.etag = f"etag-{latest.revision}"
        return made

    def _heads(self, request: Any) -> list[pb.Resource]:
        keys = [key for key in self.versions if key[0] == request.namespace]
        found = [self._of(key) for key in keys if not request.kinds or key[1] in request.kinds]
        return sorted((one for one in found if one), key=lambda one: one.latest.revision)

    def _news(self, request: Any, told: int) -> Iterator[Any]:
        for head in self._heads(request):
            if head.latest.revision > told:
                if head.state == pb.RESOURCE_STATE_RETIRED:
                    head.ClearField("content")
                yield pb.WatchResourcesResponse(resource=head)

    def _read(self, raw: bytes) -> tuple[Key, bytes]:
        document = yaml.safe_load(raw)
        metadata = document["metadata"]
        content = json.dumps(document, sort_keys=True).encode()
        return (metadata["namespace"], KINDS[document["kind"]], metadata["id"]), content

    def _problems(self, request: Any) -> list[pb.Problem]:
        found = []
        for document in request.documents:
            lines = document.content.decode().splitlines()
            at = next((n for n, line in enumerate(lines, 1) if "broken" in line), 0)
            broken = (yaml.safe_load(document.content) or {}).get("broken", 0)
            for number in range(broken):
                found.append(
                    pb.Problem(
                        document=document.name,
                        path=f"spec.rules[{number}].when",
                        line=at,
                        column=lines[at - 1].index("broken") + 1,
                        message="it does not compile",
                    )
                )
            for number in range(self.spoiled):
                found.append(
                    pb.Problem(
                        document=document.name,
                        path=f"spec.rules[{number}]",
                        message="its event type is gone",
                    )
                )
            namespace = self._read(document.content)[0][0]
            if request.namespace not in ("", namespace):
                found.append(
                    pb.Problem(
                        document=document.name,
                        path="metadata.namespace",
                        message=f"it is {namespace}, and the request is for {request.namespace}",
                    )
                )
        return found

    def _invalid(self, context: Any, problems: list[pb.Problem]) -> NoReturn:
        detail = pb.InvalidDocuments(problems=problems[:FIT_INTO_DETAIL], total=len(problems))
        fail(
            context,
            rpcerrors.InvalidArgumentError(
                f"{len(problems)} problems", reason="INVALID_DOCUMENTS", details=[detail]
            ),
        )

    def _planned(self, request: Any, context: Any) -> pb.ApplyResourcesResponse:
        results = []
        named = set()
        for document in request.documents:
            key, content = self._read(document.content)
            named.add(key)
            head = self._of(key)
            if document.etag and (head is None or head.etag != document.etag):
                fail(
                    context,
                    rpcerrors.AbortedError(
                        f"{key[2]!r} is not what the etag was taken from: get it again and change "
                        "that",
                        reason="ETAG_MISMATCH",
                    ),
                )
            results.append(self._result(document.name, key, head, content))
        for key in sorted(self.versions):
            head = self._of(key)
            gone = key not in named and key[0] == request.namespace and request.prune
            if (
                gone
                and head is not None
                and head.state != pb.RESOURCE_STATE_RETIRED
                and request.prune_owner in ("", json.loads(head.content)["metadata"]["owner"])
            ):
                head.ClearField("content")
                results.append(pb.ApplyResult(action=pb.APPLY_ACTION_PRUNE, resource=head))
        told = [[r.action, r.resource.resource_id, r.resource.etag] for r in results]
        revision = self._revision(request.namespace or "dev")
        sha256 = hashlib.sha256(json.dumps([told, revision]).encode()).hexdigest()
        return pb.ApplyResourcesResponse(results=results, plan_sha256=sha256, revision=revision)

    def _result(
        self, name: str, key: Key, head: pb.Resource | None, content: bytes
    ) -> pb.ApplyResult:
        resource = pb.Resource(
            namespace=key[0],
            kind=key[1],
            resource_id=key[2],
            version=1,
            state=pb.RESOURCE_STATE_ACTIVE,
        )
        if head is None:
            return pb.ApplyResult(document=name, action=pb.APPLY_ACTION_CREATE, resource=resource)
        resource.CopyFrom(head)
        resource.ClearField("content")
        action = pb.APPLY_ACTION_UNCHANGED
        if head.content != content:
            action = pb.APPLY_ACTION_UPDATE
            resource.version = len(self.versions[key]) + 1
        if head.state == pb.RESOURCE_STATE_RETIRED:
            action = pb.APPLY_ACTION_RESTORE
            resource.state = pb.RESOURCE_STATE_ACTIVE
        return pb.ApplyResult(
            document=name,
            action=action,
            resource=resource,
            differences=_differences(head.content, content),
            schedules=_schedules(head.content, content),
        )

    def _carry_out(self, request: Any, response: Any, actor: str) -> None:
        for document, result in zip(request.documents, response.results, strict=False):
            if result.action != pb.APPLY_ACTION_UNCHANGED:
                key, content = self._read(document.content)
                self._store(key, content, actor, request.reason)
        for result in response.results[len(request.documents) :]:
            key = (result.resource.namespace, result.resource.kind, result.resource.resource_id)
            self.record(
                key,
                pb.CHANGE_KIND_RETIRED,
                version=result.resource.version,
                state=pb.RESOURCE_STATE_RETIRED,
                actor=actor,
                reason=request.reason,
            )
        for result in response.results:
            one = result.resource
            head = self._of((one.namespace, one.kind, one.resource_id))
            assert head is not None
            head.ClearField("content")
            one.CopyFrom(head)
        response.revision = self._revision(response.results[0].resource.namespace)

    def _store(self, key: Key, content: bytes, actor: str, reason: str) -> None:
        head = self._of(key)
        versions = self.versions.setdefault(key, [])
        state = pb.RESOURCE_STATE_ACTIVE
        if head is not None and head.state == pb.RESOURCE_STATE_DISABLED:
            state = pb.RESOURCE_STATE_DISABLED
        if head is None or head.content != content:
            versions.append(
                pb.Resource(
                    namespace=key[0],
                    kind=key[1],
                    resource_id=key[2],
                    version=len(versions) + 1,
                    content=content,
                    content_sha256=hashlib.sha256(content).hexdigest(),
                )
            )
        version = versions[-1]
        change = self.record(
            key,
            pb.CHANGE_KIND_APPLIED,
            version=version.version,
            state=state,
            actor=actor,
            reason=reason,
        )
        version.applied.CopyFrom(change)

    def record(
        self, key: Key, kind: Any, *, version: int, state: Any, actor: str, reason: str
    ) -> pb.Change:
        """Record that something happened, and tell the watches."""
        revision = self._revision(key[0]) + 1
        change = pb.Change(
            revision=revision,
            kind=key[1],
            resource_id=key[2],
            change=kind,
            version=version,
            state=state,
            at=stamp(BEGINNING + timedelta(seconds=revision)),
            actor=actor,
            reason=reason,
        )
        self.changes.append((key[0], change))
        self.changed.notify_all()
        return change

    def _happened(
        self, key: Key, kind: Any, *, version: int, state: Any, request: Any, context: Any
    ) -> None:
        actor = self._actor(context)
        self.record(key, kind, version=version, state=state, actor=actor, reason=request.reason)

    def _switch(self, request: Any, context: Any, state: Any, kind: Any, response: Any) -> Any:
        key = (request.namespace, pb.RESOURCE_KIND_ACTIVITY_DEFINITION, request.definition_id)
        with self.changed:
            known = self._known(request, context)
            if known is not None:
                return known
            head = self._checked(key, request, context)
            if head.state == pb.RESOURCE_STATE_RETIRED:
                fail(
                    context,
                    rpcerrors.FailedPreconditionError(
                        f"{key[2]!r} is retired: apply it to bring it back", reason="WRONG_STATE"
                    ),
                )
            changed = head.state != state
            if changed:
                self._happened(
                    key, kind, version=head.version, state=state, request=request, context=context
                )
            return self._remember(request, response(resource=self._of(key), changed=changed))

    def _require_reason(self, request: Any, context: Any) -> None:
        if not request.reason:
            fail(context, rpcerrors.InvalidArgumentError("reason: a reason is required"))

    def _checked(self, key: Key, request: Any, context: Any) -> pb.Resource:
        self._require_reason(request, context)
        head = self._of(key)
        if head is None:
            fail(context, rpcerrors.NotFoundError(f"there is no {key[2]!r} in {key[0]!r}"))
        if request.etag not in ("", head.etag):
            fail(
                context,
                rpcerrors.AbortedError(
                    f"{key[2]!r} is not what the etag was taken from: get it again and change that",
                    reason="ETAG_MISMATCH",
                ),
            )
        return head

    def _users(self, key: Key) -> list[str]:
        found = []
        for other in self.versions:
            head = self._of(other)
            if head is None or head.state == pb.RESOURCE_STATE_RETIRED:
                continue
            if key[2] in json.loads(head.content).get("uses", []):
                found.append(other[2])
        return sorted(found)

    def _known(self, request: Any, context: Any) -> Any:
        """Return the answer that the request's id had already."""
        if not request.request_id or request.request_id not in self.requests:
            return None
        asked, answer = self.requests[request.request_id]
        if asked != request.SerializeToString(deterministic=True):
            fail(
                context,
                rpcerrors.InvalidArgumentError(
                    f"request id {request.request_id!r} was used for another request: choose a new "
                    "one",
                    reason="REQUEST_ID_REUSED",
                ),
            )
        return answer

    def _remember(self, request: Any, response: Any) -> Any:
        if request.request_id:
            asked = request.SerializeToString(deterministic=True)
            self.requests[request.request_id] = (asked, response)
        return response


def _differences(before: bytes, after: bytes) -> list[pb.Difference]:
    old, new = (json.loads(content).get("spec", {}) for content in (before, after))
    kinds = {
        (True, False): (pb.DIFFERENCE_KIND_REMOVED, "is gone"),
        (False, True): (pb.DIFFERENCE_KIND_ADDED, "is new"),
        (True, True): (pb.DIFFERENCE_KIND_CHANGED, "changes"),
    }
    found = []
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            kind, verb = kinds[name in old, name in new]
            found.append(
                pb.Difference(
                    kind=kind,
                    path=f"spec.{name}",
                    summary=f"{name} {verb}",
                    before=json.dumps(old[name]).encode() if name in old else b"",
                    after=json.dumps(new[name]).encode() if name in new else b"",
                )
            )
    return found


def _schedules(before: bytes, after: bytes) -> list[pb.ScheduleChange]:
    old, new = (json.loads(content).get("spec", {}).get("every") for content in (before, after))
    if old == new:
        return []
    return [
        pb.ScheduleChange(
            kind=pb.DIFFERENCE_KIND_CHANGED,
            trigger="often",
            due_before=_due(old),
            due_after=_due(new),
        )
    ]


def _due(minutes: int | None) -> list[Timestamp]:
    if minutes is None:
        return []
    return [stamp(BEGINNING + timedelta(minutes=minutes * number)) for number in (1, 2)]


@pytest.fixture
def fake_registry() -> FakeRegistry:
    """A registry that keeps everything in memory."""
    return FakeRegistry()
