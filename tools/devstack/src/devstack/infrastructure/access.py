"""Who may do what on the servers of a secure stack: one table, from which each server is told.

Nobody may do what is not here. The names are the common names of certificates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from contracts import names
from contracts.names import Reader, Topic
from contracts.services import Service
from devstack.infrastructure import certificates

Operation = Literal["READ", "WRITE", "DESCRIBE"]
_READS: tuple[Operation, ...] = ("READ", "DESCRIBE")
_WRITES: tuple[Operation, ...] = ("WRITE", "DESCRIBE")

POSTGRES: Mapping[str, str] = {
    "postgres": certificates.ADMIN,
    # Who migrates; no service is its schema's owner.
    "ledger_owner": certificates.ADMIN,
    "registry_owner": certificates.ADMIN,
    "temporal": certificates.TEMPORAL,
    "ledger": Service.LEDGER,
    "registry": Service.REGISTRY,
    "relay": Service.OUTBOX_RELAY,
    # Of the examples' billing database, which a worker looks at.
    "context_ro": Service.ORCHESTRATOR_WORKER,
}
"""Who may be each role; what a role may do is in bootstrap.sql and the migrations."""

KAFKA_SUPERUSERS = (certificates.BROKER, certificates.ADMIN)

REDIS: Mapping[str, str] = {
    Service.ROUTER: "~backbone:* +ping +get +set +mget +eval +client|setinfo +hello",
    certificates.ADMIN: "+ping +flushall",
}
"""What each user may do, in Redis's words; a user has a password too."""

TEMPORAL_SERVICES = (Service.REGISTRY, Service.ROUTER, Service.ORCHESTRATOR_WORKER)
"""Who of the services calls Temporal: for all namespaces."""

REDIS_USER = Service.ROUTER


@dataclass(frozen=True)
class Grant:
    """Operations on topics or consumer groups, for one principal."""

    principal: str
    kind: Literal["topic", "group"]
    names: tuple[str, ...]
    operations: tuple[Operation, ...]
    prefixed: bool = False  # the names are how names begin


def temporal(*, namespaces: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return what each may do in Temporal, in its words: a namespace and a right in it.

    To write is to start, signal, poll and list. A namespace itself is made and changed by who
    prepares the servers alone.
    """
    everywhere = tuple(f"{namespace}:write" for namespace in namespaces)
    return {
        **{service.value: everywhere for service in TEMPORAL_SERVICES},
        **{certificates.member_name(one): (f"{one}:write",) for one in namespaces},
        # Temporal's own word for everywhere.
        certificates.ADMIN: ("temporal-system:admin",),
    }


def kafka(*, namespaces: Sequence[str], topics: Sequence[str]) -> list[Grant]:
    """Return what each may do on Kafka; `topics` are those of producers, which the router reads."""
    grants: list[Grant] = []
    for namespace in namespaces:
        out = tuple(names.topic(namespace, one) for one in Topic if one is not Topic.DEAD_LETTERS)
        letters = (names.topic(namespace, Topic.DEAD_LETTERS),)
        developer = certificates.member_name(namespace)
        # Topics tell their namespace by how they begin.
        own = tuple(topic for topic in topics if topic.startswith(f"{namespace}."))
        grants += [
            Grant(Service.ROUTER, "group", (names.router_group(namespace),), ("READ",)),
            # It reads them again for those who review them.
            Grant(Service.ROUTER, "topic", letters, ("READ", "WRITE", "DESCRIBE")),
            Grant(Service.OUTBOX_RELAY, "topic", out, _WRITES),
            Grant(developer, "group", (Reader.CLI,), ("READ",), prefixed=True),
            Grant(developer, "topic", (*out, *letters), _READS),
            Grant(developer, "topic", own, ("READ", "WRITE", "DESCRIBE")),
        ]
    readers = (Reader.ROUTER_RECORDS, Reader.ROUTER_DEAD_LETTERS)
    return [
        *grants,
        Grant(Service.ROUTER, "group", readers, ("READ",)),
        # It writes what comes in by HTTP.
        Grant(Service.ROUTER, "topic", tuple(topics), ("READ", "WRITE", "DESCRIBE")),
    ]
