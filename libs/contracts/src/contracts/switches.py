"""Kill switches: where a namespace is stopped, and which of its definitions are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from contracts.resources import Metadata

MAX_LABELS = 10
"""Of a selector: more than anybody needs to name a team, a system and a risk."""


class Point(StrEnum):
    """Where a kill switch stops: what comes in, what is started, or what handlers do."""

    INGRESS = "ingress"
    RUN = "run"
    EFFECT = "effect"


SELECTS = frozenset({Point.RUN, Point.EFFECT})
"""The points that are about definitions, so that labels can select some of them."""


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """A switch that is thrown; without `labels` it stops all of its namespace."""

    switch_id: str
    point: Point
    labels: Mapping[str, str] = field(default_factory=dict)
    thrown_by: str = ""
    reason: str = ""

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Say whether a definition with these labels is stopped: it has all that are asked for."""
        return all(labels.get(name) == value for name, value in self.labels.items())

    @property
    def told(self) -> str:
        """The switch in a sentence: who stopped what, and why."""
        return (
            f"{self.point.value} is stopped by kill switch {self.switch_id} of {self.thrown_by}: "
            f"{self.reason}"
        )


def labels(words: Iterable[str]) -> dict[str, str]:
    """Return labels as people write them, `tier=gold`. Raises ValueError with a sentence."""
    found: dict[str, str] = {}
    for word in words:
        name, is_pair, value = word.partition("=")
        if not (name and is_pair):
            raise ValueError(f"a label is NAME=VALUE, such as tier=gold, and not {word!r}")
        found[name] = value
    return found


def problem(point: Point, labels: Mapping[str, str]) -> str | None:
    """Return why no switch at a point can select these labels; None when one can."""
    if labels and point not in SELECTS:
        return f"{point.value} stops a whole namespace: it takes no labels"
    if len(labels) > MAX_LABELS:
        return f"{len(labels)} labels, more than {MAX_LABELS}"
    try:
        Metadata(namespace="dev", owner="x", labels=dict(labels))
    except ValueError:
        return "a label is a name and a value of at most 63 characters, as in a definition"
    return None
