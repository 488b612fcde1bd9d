"""Which faults there are, and the seeded plan of those of one scenario."""

import random
from dataclasses import dataclass
from typing import Literal

from stack import EDGES, REPLICAS

Kind = Literal[
    "kill",
    "stop",
    "restart",
    "flush",
    "cut",
    "black-hole",
    "slow",
    "reset",
    "lose-replies-and-kill",
    "scale",
    "fail-over",
    "hold-transaction",
    "terminate",
]

SERVICES = ("ledger", "registry", "router", "orchestrator-worker", "outbox-relay", "handlers")
SERVERS = ("postgres", "redis", "kafka", "temporal")
INSTANCE = "instance"  # the workflow of one whose timer is to fire
# Who is killed without having heard what became of the calls it had made over an edge.
UNHEARD = (
    ("outbox-relay", "relay-kafka"),
    ("outbox-relay", "relay-postgres"),
    ("router", "router-kafka"),
    ("router", "router-temporal"),
    ("router", "router-ledger"),
    ("ledger", "ledger-postgres"),
    ("registry", "registry-postgres"),
    ("orchestrator-worker", "worker-temporal"),
    ("orchestrator-worker", "worker-ledger"),
    ("handlers", "handlers-temporal"),
)
# Seconds; the longest are longer than a session of Kafka's consumers (10 s) and than the relay's
# idle session in PostgreSQL (10 s), so that who is stopped has been replaced when it goes on.
STOPS = (0.5, 2.0, 4.0, 13.0)
SPELLS = (0.5, 1.5, 3.0, 6.0)


@dataclass(frozen=True)
class Fault:
    """What is done to whom, when, and for how long, in seconds."""

    number: int
    at: float
    kind: Kind
    target: str
    seconds: float = 0.0
    detail: str = ""  # the edge, the database, how the one that fails over ends

    @property
    def name(self) -> str:
        """What a report calls it."""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.kind} {self.target}{detail}"

    @property
    def turns(self) -> list[str]:
        """Whom it has to itself, in one order for all faults."""
        replaced = REPLICAS.get(self.target, self.target)
        return sorted({self.target, replaced} | ({self.detail} & set(EDGES)))

    @property
    def kills(self) -> int:
        """How many processes it kills."""
        if self.kind in ("kill", "lose-replies-and-kill"):
            return 1
        return int(self.kind == "fail-over" and self.detail == "kill")


def plan(seed: int, *, count: int, seconds: float, every_kind: bool = False) -> list[Fault]:
    """Return `count` faults that begin within `seconds`, by their beginnings.

    Whatever the seed, the relay is killed once between sending and deleting, so that something is
    published twice; one process of each plan stands still for longer than its session, and an
    instance's workflow is terminated.

    With `every_kind` there is one of each kind at least, and each server is killed, for which
    `EVERY_KIND` faults are enough.
    """
    chance = random.Random(f"nemesis {seed}")
    chosen: list[tuple[Kind, str, float, str]] = [
        ("lose-replies-and-kill", "outbox-relay", 1.5, "relay-kafka"),
        ("stop", chance.choice(("router", "outbox-relay")), STOPS[-1], ""),
        ("terminate", INSTANCE, 0.0, ""),
    ]
    if every_kind:
        chosen += _of_each_kind(chance)
    while len(chosen) < count:
        chosen.append(_draw(chance))
    chosen = chosen[:count]
    chance.shuffle(chosen)
    room = seconds / max(1, count)
    return [
        Fault(number, round((number + chance.random()) * room, 2), kind, target, length, detail)
        for number, (kind, target, length, detail) in enumerate(chosen)
    ]


def _of_each_kind(chance: random.Random) -> list[tuple[Kind, str, float, str]]:
    """Return the end of each server, and one of each further kind."""
    of_edges: tuple[Kind, ...] = ("cut", "black-hole", "slow", "reset", "cut")
    leading_to = {
        end: [edge for edge in EDGES if edge.endswith(f"-{end}")] for end in (*SERVERS, "ledger")
    }
    replicas = list(REPLICAS)
    return [
        *(("kill", server, 0.0, "") for server in SERVERS),
        ("restart", chance.choice(SERVICES), 0.0, ""),
        ("flush", "redis", 0.0, ""),
        *(
            (kind, chance.choice(edges), chance.choice(SPELLS), "")
            for kind, edges in zip(of_edges, leading_to.values(), strict=True)
        ),
        ("scale", chance.choice(replicas), STOPS[1], ""),
        ("fail-over", chance.choice(replicas), STOPS[2], "kill"),
        ("hold-transaction", "backbone", STOPS[-1], ""),
    ]


EVERY_KIND = 17


def _draw(chance: random.Random) -> tuple[Kind, str, float, str]:
    kind: Kind
    match chance.choices(
        ("service", "server", "edge", "unheard", "replica", "person"), (30, 18, 28, 12, 10, 5)
    )[0]:
        case "service":
            return _of_process(chance, chance.choice(SERVICES))
        case "server":
            return _of_process(chance, chance.choice(SERVERS))
        case "edge":
            kind = chance.choice(("cut", "black-hole", "slow", "reset"))
            return kind, chance.choice(EDGES), chance.choice(SPELLS), ""
        case "unheard":
            target, edge = chance.choice(UNHEARD)
            return "lose-replies-and-kill", target, chance.choice((0.5, 1.5)), edge
        case "replica":
            return _of_replica(chance, chance.choice(list(REPLICAS)))
    return _of_person(chance)


def _of_process(chance: random.Random, target: str) -> tuple[Kind, str, float, str]:
    if target == "redis" and chance.random() < 0.5:
        return "flush", target, 0.0, ""
    kinds: tuple[Kind, ...] = ("kill", "stop", "restart")
    kind = chance.choices(kinds, (5, 4, 2))[0]
    return kind, target, chance.choice(STOPS) if kind == "stop" else 0.0, ""


def _of_person(chance: random.Random) -> tuple[Kind, str, float, str]:
    """Return what somebody does who looks at the servers."""
    if chance.random() < 0.6:
        return "terminate", INSTANCE, 0.0, ""
    return "hold-transaction", chance.choice(("backbone", "postgres")), STOPS[-1], ""


def _of_replica(chance: random.Random, replica: str) -> tuple[Kind, str, float, str]:
    if chance.random() < 0.3:
        return "scale", replica, chance.choice(STOPS[1:]), ""
    how = chance.choice(("kill", "stop"))
    return "fail-over", replica, STOPS[-1] if how == "stop" else STOPS[2], how
