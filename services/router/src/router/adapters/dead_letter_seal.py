"""Dead letters encrypted where they are kept: the sender's key, headers and value, and why.

What stays in the clear is what the router itself says: the reason's code, where the record came
from and how often it was tried. The record's key becomes a pseudonym, so that records of one key
stay in one partition. What is sealed is bound to that place: moved to another one it does not open.
"""

import base64
import binascii
import json
from dataclasses import dataclass

from contracts.names import Header
from router.domain.dead_letters import OURS, Headers
from router.domain.records import Record
from runtime.datakeys import DataKeyFile, DataKeys, NotAuthenticError, NotOpenedError

PURPOSE = "dead-letters"

_BOUND = (
    Header.REASON,
    Header.ORIGIN_TOPIC,
    Header.ORIGIN_PARTITION,
    Header.ORIGIN_OFFSET,
    Header.ORIGIN_TIMESTAMP,
    Header.VALUE_CUT_FROM,
)


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is sent to Kafka."""

    key: bytes | None
    value: bytes | None
    headers: Headers


class DeadLetterSeal:
    """Seals what is parked, and opens what was; without keys it leaves all as it is."""

    def __init__(self, keys: DataKeyFile | None = None, *, encrypts: bool = False) -> None:
        """`encrypts` says whether what is parked from now on is sealed."""
        self._keys = keys
        self._encrypts = encrypts

    def sealed(self, parcel: Parcel, *, namespace: str) -> Parcel:
        """Return a dead letter as it is kept."""
        if self._keys is None or not self._encrypts:
            return parcel
        keys = self._keys.newest()
        clear = [one for one in parcel.headers if one[0] in OURS and one[0] != Header.DETAIL]
        hidden = {
            "key": _text(parcel.key),
            "headers": [
                [name, _text(value)] for name, value in parcel.headers if (name, value) not in clear
            ],
        }
        place = _place(namespace, clear)
        rest = keys.seal(json.dumps(hidden).encode(), purpose=PURPOSE, bound_to=(*place, "rest"))
        value = parcel.value
        if value is not None:
            value = keys.seal(value, purpose=PURPOSE, bound_to=(*place, "value")).data
        key = parcel.key
        return Parcel(
            None if key is None else keys.pseudonym(key, purpose=PURPOSE),
            value,
            [
                *clear,
                (Header.DATA_KEY.value, rest.key_id.encode()),
                (Header.SEALED.value, rest.data),
            ],
        )

    def opened(self, found: Record, *, namespace: str) -> tuple[Record, str]:
        """Return a record of the topic as it was before it was sealed, or why that cannot be.

        One that was not sealed is as it is. Of one that cannot be opened only what is in the clear
        is left.
        """
        said = dict(found.headers or ())
        if Header.DATA_KEY not in said:
            return found, ""
        clear = tuple(
            one for one in found.headers or () if one[0] not in {Header.DATA_KEY, Header.SEALED}
        )
        key_id = (said[Header.DATA_KEY] or b"").decode("utf-8", "replace")
        if self._keys is None:
            problem = (
                f"it is encrypted with the data key {key_id[:64]!r}, and the router has none "
                "(BACKBONE_DATA_KEYS)"
            )
            return found._replace(key=None, value=None, headers=clear), problem
        try:
            return _opened(self._keys.newest(), found, clear, key_id, namespace), ""
        except NotOpenedError as exc:
            return found._replace(key=None, value=None, headers=clear), str(exc)


def _opened(
    keys: DataKeys, found: Record, clear: tuple[tuple[str, bytes | None], ...], key_id: str,
    namespace: str,
) -> Record:  # fmt: skip
    place = _place(namespace, list(clear))
    sealed = dict(found.headers or ()).get(Header.SEALED) or b""
    rest = keys.open(key_id, sealed, purpose=PURPOSE, bound_to=(*place, "rest"))
    value = found.value
    if value is not None:
        value = keys.open(key_id, value, purpose=PURPOSE, bound_to=(*place, "value"))
    try:
        hidden = json.loads(rest)
        headers = [(str(name), _bytes(told)) for name, told in hidden["headers"]]
        key = _bytes(hidden["key"])
    except (ValueError, KeyError, TypeError) as exc:
        raise NotAuthenticError("what is sealed is no dead letter") from exc
    return found._replace(key=key, value=value, headers=(*headers, *clear))


def _place(namespace: str, clear: Headers) -> tuple[str, ...]:
    said = {name: (value or b"").decode("utf-8", "replace") for name, value in clear}
    return (namespace, *(said.get(header, "") for header in _BOUND))


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(told: str | None) -> bytes | None:
    try:
        return None if told is None else base64.b64decode(told, validate=True)
    except binascii.Error as exc:
        raise ValueError(str(exc)) from exc
