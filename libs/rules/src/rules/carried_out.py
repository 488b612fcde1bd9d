"""What the definition language holds and this release does not carry out: the one list of it.

A definition that asks for it is refused, since a promise that nobody keeps is worse than none.
"""

from collections.abc import Iterator

from contracts.definitions import ActivityDefinition
from rules.problems import Problem


def not_carried_out(_definition: ActivityDefinition) -> Iterator[Problem]:
    """Yield what a definition asks for in vain: in this release nothing."""
    yield from ()
