"""How far a partition has come: what may be committed, and from where to read again.

A record is never passed over. The committed offset moves only over records whose outcome is
durable; the first one without makes the partition go back to it, and what lies behind it and was
done is remembered, so that reading it again does no work twice.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

BACKOFF_FIRST_S = 0.25
BACKOFF_LONGEST_S = 30.0
COMMIT_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Intake:
    """What to do with records that were read: work on these offsets, or read again from `rewind`.

    `gone` is the offset of a record that was to be read again and that the broker no longer has.
    """

    work: tuple[int, ...] = ()
    rewind: int | None = None
    gone: int | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """After a batch: the offset to commit, and where to read again and after which pause."""

    commit: int | None = None
    rewind: int | None = None
    pause_s: float = 0.0


@dataclass(slots=True)
class Progress:
    """The progress of one assigned partition. Batches are taken and settled in turn."""

    _expected: int | None = None
    _mismatches: int = 0
    _done_ahead: set[int] = field(default_factory=set)
    _failures: dict[int, int] = field(default_factory=dict)

    def attempts(self, offset: int) -> int:
        """Return how often the record at `offset` has been tried, this time included."""
        return self._failures.get(offset, 0) + 1

    def take(self, offsets: Sequence[int]) -> Intake:
        """Look at the offsets of a batch, in order.

        After a rewind the first record has to be the one that was asked for. One that lies behind
        it was fetched before the rewind, and is dropped by rewinding once more; when that gives the
        same, the record is gone from the broker (retention, compaction) and work goes on behind it.
        """
        gone = None
        if self._expected is not None:
            if offsets[0] > self._expected:
                self._mismatches += 1
                if self._mismatches == 1:
                    return Intake(rewind=self._expected)
                gone = self._expected
            self._expected = None
        self._mismatches = 0
        return Intake(
            work=tuple(offset for offset in offsets if offset not in self._done_ahead), gone=gone
        )

    def settle(
        self, offsets: Sequence[int], *, done: Collection[int], failed: Collection[int]
    ) -> Settlement:
        """Account for a batch whose `take` gave work: some done, some failed, others not begun."""
        commit = rewind = None
        for offset in offsets:
            if offset not in done and offset not in self._done_ahead:
                rewind = offset
                break
            commit = offset + 1
        if rewind is None:
            last = offsets[-1]
            self._done_ahead = {offset for offset in self._done_ahead if offset > last}
            self._failures = {o: count for o, count in self._failures.items() if o > last}
            return Settlement(commit=commit)
        self._done_ahead = {o for o in (*self._done_ahead, *done) if o > rewind}
        self._failures = {
            offset: self._failures.get(offset, 0) + (1 if offset in failed else 0)
            for offset in {*self._failures, *failed}
            if offset >= rewind
        }
        self._expected = rewind
        self._mismatches = 0
        pause = backoff_s(self._failures[rewind]) if rewind in failed else 0.0
        return Settlement(commit=commit, rewind=rewind, pause_s=pause)

    def uncommitted(self, offsets: Sequence[int]) -> Settlement:
        """Account for a batch that was settled and whose commit was refused.

        It is read again only to be committed again: what was done is not done twice.
        """
        self._done_ahead.update(offsets)
        self._expected = offsets[0]
        return Settlement(rewind=offsets[0], pause_s=COMMIT_AGAIN_S)

    def rewind_all(self, offset: int) -> Settlement:
        """Account for a batch that failed as a whole, from `offset` on."""
        return self.settle([offset], done=(), failed=(offset,))


def backoff_s(failures: int) -> float:
    """Return the pause after the n-th failure in a row, in seconds."""
    return min(BACKOFF_LONGEST_S, BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 10))
