"""No caller takes all of a server's calls: each may have a share of them open at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from runtime.authorisation import Decisions
from runtime.identity import Identity


class Shares:
    """Counts the calls that each caller has open, unary ones and streams alike.

    Those of our own services are not counted: they belong to no namespace, and bound their own.
    """

    def __init__(self, most: int, decisions: Decisions) -> None:
        """Let a caller have `most` calls at once; `decisions` tells of whom that stops."""
        self._most = most
        self._decisions = decisions
        self._open: Counter[str] = Counter()

    def take(self, method: str, caller: Identity, request: object) -> AbstractContextManager[None]:
        """Take one of the caller's calls, until the end of what is returned.

        Raises:
            ResourceExhaustedError: the caller has all of its share already; the reason is a Denial.
        """
        if caller.namespaces is None:
            return _FREE
        subject = caller.subject
        if self._open[subject] >= self._most:
            raise self._decisions.exhausted(method, caller, request, most=self._most)
        self._open[subject] += 1
        return self._taken(subject)

    @contextmanager
    def _taken(self, subject: str) -> Iterator[None]:
        try:
            yield
        finally:
            self._open[subject] -= 1
            if not self._open[subject]:
                # Subjects are many in time; those that are gone are not kept.
                del self._open[subject]


_FREE = nullcontext()
