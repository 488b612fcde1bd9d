"""Who may call what: a table from full method name to roles. What is not in the table is denied."""

from collections.abc import Iterable, Mapping

from contracts.roles import Role
from runtime.identity import Identity

Policy = Mapping[str, frozenset[Role]]


def policy(service: str, methods: Mapping[str, Iterable[Role]]) -> dict[str, frozenset[Role]]:
    """Return the policy of one gRPC service from its methods' bare names.

    `policy("backbone.ledger.v1.TaskService", {"GetTask": {Role.VIEWER}})`.
    """
    return {f"/{service}/{method}": frozenset(roles) for method, roles in methods.items()}


def allows(table: Policy, method: str, identity: Identity) -> bool:
    """Say whether `identity` may call `method` (its full name, with slashes)."""
    return bool(table.get(method, frozenset()) & identity.roles)
