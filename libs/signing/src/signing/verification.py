"""Whether the signature of a record holds: cheap checks first, and none of them reads the value."""

from dataclasses import dataclass
from datetime import timedelta

from contracts.rejections import EventRejectedError, Reason
from signing import message
from signing.keys import Keyring
from signing.message import Headers
from signing.signature import Signature


@dataclass(frozen=True, slots=True)
class ReplayWindow:
    """How old a signature may be when it comes, and how far ahead the clock of its signer."""

    past: timedelta = timedelta(days=1)
    future: timedelta = timedelta(minutes=2)

    def check(self, signature: Signature, *, now_ms: int) -> None:
        """Return when a signature is neither too old nor of the future.

        Raises:
            EventRejectedError: it is; the reason says which.
        """
        age = timedelta(milliseconds=now_ms - signature.issued_at_ms)
        if age > self.past:
            raise EventRejectedError(
                Reason.SIGNATURE_EXPIRED,
                f"it was signed {age} ago, and {self.past} is the longest that is taken; "
                "a person can have it routed nevertheless",
            )
        if -age > self.future:
            raise EventRejectedError(
                Reason.ISSUED_IN_FUTURE,
                f"it was signed {-age} ahead of the clock here: is that of its signer right?",
            )


def verify(
    signature: Signature,
    keyring: Keyring,
    *,
    topic: str,
    key: bytes | None,
    headers: Headers,
    value: bytes | None,
    now_ms: int,
    window: ReplayWindow | None,
) -> None:
    """Return when `signature` is that of the record, for `topic`, by a key in force.

    Who the signer may speak for is the caller's question. `window` is None for what a person asked
    to look at again: its age says nothing then.

    Raises:
        EventRejectedError: it does not hold; the reason says why.
    """
    if signature.audience != topic:
        raise EventRejectedError(
            Reason.WRONG_AUDIENCE, f"it was signed for {signature.audience!r} and came on {topic!r}"
        )
    trusted = keyring.get(signature.signer, signature.key_id)
    if trusted is None:
        raise EventRejectedError(Reason.UNKNOWN_KEY, f"there is no key {signature.key!r}")
    if trusted.revoked(now_ms):
        raise EventRejectedError(Reason.REVOKED_KEY, f"the key {signature.key!r} is revoked")
    if not trusted.in_force(signature.issued_at_ms):
        raise EventRejectedError(
            Reason.KEY_NOT_IN_FORCE,
            f"the key {signature.key!r} was not in force when it is said to have signed",
        )
    content = message.of_record(
        signer=signature.signer,
        key_id=signature.key_id,
        audience=topic,
        issued_at_ms=signature.issued_at_ms,
        key=key,
        headers=headers,
        value=value,
    )
    if not trusted.holds(signature.value, content):
        raise EventRejectedError(
            Reason.BAD_SIGNATURE,
            f"the signature by {signature.key!r} is not of this record: its value, its key or a "
            "header is another one, or somebody else signed",
        )
    if window is not None:
        window.check(signature, now_ms=now_ms)
