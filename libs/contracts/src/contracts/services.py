"""The services of Backbone, by the one name of each: of its image, its identity, its log."""

from enum import StrEnum


class Service(StrEnum):
    """A deployable that other services, brokers and databases know by this name."""

    LEDGER = "ledger"
    REGISTRY = "registry"
    ROUTER = "router"
    ORCHESTRATOR_WORKER = "orchestrator-worker"
    OUTBOX_RELAY = "outbox-relay"
    CONSOLE = "console"
