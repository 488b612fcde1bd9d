"""What a router knows of kill switches: what the ledger told last, which holds while it is away.

The ledger tells with what it hands out, several times a second. Until it has told for the first
time nothing of the namespace is started: a router that begins may begin amid an incident.
"""

from collections.abc import Mapping, Sequence

from contracts.switches import KillSwitch, Point
from router.domain.routing import Active
from router.errors import IngressHaltedError, TransientError
from router.ports import ActiveDefinitions, KillSwitchSelections


class KillSwitches:
    """The kill switches of one namespace."""

    def __init__(
        self,
        namespace: str,
        *,
        definitions: ActiveDefinitions,
        selections: KillSwitchSelections,
    ) -> None:
        self._namespace = namespace
        self._definitions = definitions
        self._selections = selections
        self._thrown: Sequence[KillSwitch] | None = None
        # Definitions of which events wait, with the count of queueings at which that was last so.
        self._waiting: dict[str, int] = {}
        self._queueings = 0
        self._told: tuple[int, frozenset[str]] | None = None

    def asked(self) -> int:
        """Return what the ledger's answer to a question that is asked now is to be heard with."""
        return self._queueings

    def hear(self, thrown: Sequence[KillSwitch], waiting: Sequence[str], *, asked: int) -> None:
        """Take note of an answer: the thrown switches, and the definitions of which events wait.

        What was queued since the question was `asked` may not be in it.
        """
        self._thrown = thrown
        later = {name: count for name, count in self._waiting.items() if count > asked}
        self._waiting = dict.fromkeys(waiting, asked) | later

    def queued(self, definition_ids: Sequence[str]) -> None:
        """Take note that events of definitions were left to wait for a switch."""
        if definition_ids:
            self._queueings += 1
            self._waiting |= dict.fromkeys(definition_ids, self._queueings)

    def require_known(self) -> None:
        """Raise TransientError before the ledger has told of switches."""
        if self._thrown is None:
            raise TransientError("the ledger has not told of kill switches yet")

    def require_let_in(self, *, asked_for: bool = False) -> None:
        """Raise TransientError where a switch stops what comes in, or that is not known yet.

        What a person has `asked_for`, as a redrive, is let in all the same.
        """
        self.require_known()
        if not asked_for:
            self.refuse_halted_ingress()

    def refuse_halted_ingress(self) -> None:
        """Raise IngressHaltedError where a switch is known to stop what comes in."""
        switch = self._first(Point.INGRESS, {})
        if switch is not None:
            raise IngressHaltedError(switch.told)

    def run(self, definition: Active) -> KillSwitch | None:
        """Return the switch that stops the runs of a definition; None when none does."""
        return self._first(Point.RUN, definition.labels)

    def follows(self, definition: Active) -> bool:
        """Say whether events of a definition may wait that a switch had wait: others follow."""
        return definition.definition_id in self._waiting

    async def tell(self) -> None:
        """Tell the ledger which definitions are selected by labels, where that has changed.

        Raises:
            TransientError: it does not answer; to be told again.
        """
        by_labels = [one for one in self._thrown or () if one.labels]
        if not by_labels:
            return
        revision = self._definitions.revision(self._namespace)
        telling = revision, frozenset(one.switch_id for one in by_labels)
        if telling == self._told:
            return
        selected: Mapping[str, Sequence[str]] = {
            switch.switch_id: [
                active.definition_id
                for active in self._definitions.index(self._namespace)
                if switch.selects(active.labels)
            ]
            for switch in by_labels
        }
        await self._selections.select(self._namespace, selected, revision=revision)
        self._told = telling

    def _first(self, point: Point, labels: Mapping[str, str]) -> KillSwitch | None:
        for switch in self._thrown or ():
            if switch.point is point and switch.selects(labels):
                return switch
        return None


class Unswitched(KillSwitches):
    """Those of a namespace that has none, and never will."""

    def __init__(self) -> None:
        self._thrown = ()
        self._waiting = {}
        self._queueings = 0
