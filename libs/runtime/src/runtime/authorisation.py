"""Who may call what: a table from full method name to roles. What is not in the table is denied.

An identity that belongs to some namespaces may name only those in its requests. Each decision is
logged with who asked: a denial as a warning, what a person was allowed as information, and what a
service or a worker was allowed, which is nearly everything, for debugging.
"""

import logging
from collections.abc import Iterable, Mapping
from enum import StrEnum

from contracts.roles import Role
from contracts.telemetry import Attribute, Metric
from runtime import logs, telemetry
from runtime.identity import Identity
from runtime.rpcerrors import PermissionDeniedError, ResourceExhaustedError, RpcError

_MAX_LOGGED = 63  # of a namespace, which may be anything until somebody has looked

_log = logs.get_logger(__name__)
_threshold = logging.getLogger(__name__)

Policy = Mapping[str, frozenset[Role]]


def policy(service: str, methods: Mapping[str, Iterable[Role]]) -> dict[str, frozenset[Role]]:
    """Return the policy of one gRPC service from its methods' bare names.

    `policy("backbone.ledger.v1.TaskService", {"GetTask": {Role.VIEWER}})`.
    """
    return {f"/{service}/{method}": frozenset(roles) for method, roles in methods.items()}


def allows(table: Policy, method: str, identity: Identity) -> bool:
    """Say whether `identity` may call `method` (its full name, with slashes)."""
    return bool(table.get(method, frozenset()) & identity.roles)


def allows_namespace(identity: Identity, request: object) -> bool:
    """Say whether `identity` may ask for what `request` names by its field `namespace`.

    Who belongs to some namespaces is denied every request that does not name one of them.
    """
    if identity.namespaces is None:
        return True
    return getattr(request, "namespace", "") in identity.namespaces


class Denial(StrEnum):
    """Why a call was denied to somebody who is known."""

    ROLE = "ROLE_DENIED"
    NAMESPACE = "NAMESPACE_DENIED"
    CALLS = "CALLS_EXHAUSTED"


class Decisions:
    """Decides calls by a table, and tells of each decision."""

    def __init__(self, table: Policy) -> None:
        self._table = table
        self._denied = telemetry.meter(__name__).create_counter(
            Metric.RPC_DENIED, description="RPCs that were denied, by method and reason."
        )

    def decide(self, method: str, caller: Identity, request: object) -> None:
        """Return if `caller` may call `method` (its full name) with `request`.

        Raises:
            PermissionDeniedError: it may not; the reason is a Denial.
        """
        if not allows(self._table, method, caller):
            message = f"{caller.subject} may not call {method}"
            raise self._denial(method, caller, request, Denial.ROLE, message)
        if not allows_namespace(caller, request):
            message = f"{caller.subject} may not ask for this namespace"
            raise self._denial(method, caller, request, Denial.NAMESPACE, message)
        level = logging.DEBUG if _is_machine(caller) else logging.INFO
        # Asked first: a line that nobody will read costs as much as all the rest of this.
        if _threshold.isEnabledFor(level):
            asked = _namespace_asked(request)
            _log.log(level, "rpc_allowed", method=method, actor=caller.subject, namespace=asked)

    def exhausted(
        self, method: str, caller: Identity, request: object, *, most: int
    ) -> ResourceExhaustedError:
        """Return how a call is refused to somebody who has `most` of them open; tell of it."""
        self._tell_denied(method, caller.subject, request, Denial.CALLS)
        return ResourceExhaustedError(
            f"{caller.subject} has {most} calls open here, as many as one caller may have at once; "
            "wait until some of them have ended",
            reason=Denial.CALLS,
        )

    def unknown(self, method: str, request: object, *, error: RpcError, peer: str) -> None:
        """Tell that somebody at `peer` (gRPC's words) was turned away who is not known."""
        self._tell_denied(method, "", request, error.reason, peer=peer)

    def _denial(
        self, method: str, caller: Identity, request: object, reason: Denial, message: str
    ) -> PermissionDeniedError:
        self._tell_denied(method, caller.subject, request, reason)
        return PermissionDeniedError(message, reason=reason)

    def _tell_denied(
        self, method: str, actor: str, request: object, reason: str, **more: str
    ) -> None:
        self._denied.add(1, {"rpc.method": method, Attribute.REASON: reason})
        _log.warning(
            "rpc_denied",
            method=method,
            actor=actor,
            namespace=_namespace_asked(request),
            reason=reason,
            **more,
        )


def _is_machine(caller: Identity) -> bool:
    return Role.SERVICE in caller.roles or caller.roles == {Role.TASK_WORKER}


def _namespace_asked(request: object) -> str:
    return str(getattr(request, "namespace", ""))[:_MAX_LOGGED]
