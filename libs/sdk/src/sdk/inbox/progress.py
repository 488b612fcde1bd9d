"""How far a partition has come, and from where to read again: no record is passed over."""

from dataclasses import dataclass

BACKOFF_FIRST_S = 0.25
BACKOFF_LONGEST_S = 30.0


@dataclass(frozen=True, slots=True)
class Intake:
    """Whether a batch is taken: not when there is somewhere to go back to.

    `gone` is the offset of a record that was to be read again and that the broker no longer has.
    """

    back_to: int | None = None
    gone: int | None = None


@dataclass(slots=True)
class Progress:
    """The progress of one assigned partition, whose records are settled one after another."""

    _expected: int | None = None
    _sought: bool = False
    _mismatches: int = 0
    _failed_at: int | None = None
    _failures: int = 0

    def take(self, first: int) -> Intake:
        """Look at the first offset of a batch.

        After going back, a record behind the one that was asked for may have been fetched before.
        When it comes again after a seek that was carried out, the one asked for is gone from the
        broker (retention, compaction).
        """
        expected = self._expected
        gone = None
        if expected is not None and first > expected:
            self._mismatches += 1 if self._sought else 0
            if self._mismatches < 2:
                return Intake(back_to=expected)
            gone = expected
        self._expected = None
        self._mismatches = 0
        return Intake(gone=gone)

    def go_back(self, offset: int) -> None:
        """Expect `offset` next."""
        if self._expected != offset:
            self._expected = offset
            self._mismatches = 0
        self._sought = False

    def sought(self) -> None:
        """Note that the seek to what is expected was carried out."""
        self._sought = True

    def fail(self, offset: int) -> float:
        """Note a failure at `offset` and return the pause before it is tried again, in seconds."""
        self._failures = self._failures + 1 if self._failed_at == offset else 1
        self._failed_at = offset
        return min(BACKOFF_LONGEST_S, BACKOFF_FIRST_S * 2.0 ** min(self._failures - 1, 10))

    @property
    def is_sought(self) -> bool:
        """Whether the seek to what is expected was carried out."""
        return self._sought

    @property
    def failures(self) -> int:
        """How often in a row the record that failed last has failed."""
        return self._failures
