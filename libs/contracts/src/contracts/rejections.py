"""Why a record was refused: the stable reason codes a dead letter carries."""

from enum import StrEnum


class Reason(StrEnum):
    """A reason code. Codes are added, never renamed: dashboards and redrives filter by them."""

    OVERSIZE = "oversize"
    EMPTY = "empty"
    NOT_UTF8 = "not_utf8"
    MALFORMED_JSON = "malformed_json"
    DUPLICATE_KEY = "duplicate_key"
    INVALID_NUMBER = "invalid_number"
    TOO_DEEP = "too_deep"
    INVALID_ENVELOPE = "invalid_envelope"
    NAIVE_TIME = "naive_time"
    WRONG_NAMESPACE = "wrong_namespace"
    ID_CONFLICT = "id_conflict"
    TOO_MANY_HOPS = "too_many_hops"
    EXPRESSION_ERROR = "expression_error"
    UNROUTABLE = "unroutable"
    UNREADABLE_HEADERS = "unreadable_headers"
    INVALID_HEADER = "invalid_header"
    DUPLICATE_HEADER = "duplicate_header"
    HEADER_CONTRADICTION = "header_contradiction"
    INVALID_CLOUDEVENT = "invalid_cloudevent"
    UNSUPPORTED_SPECVERSION = "unsupported_specversion"
    UNSUPPORTED_CONTENT_TYPE = "unsupported_content_type"
    UNSUPPORTED_DATA = "unsupported_data"
    RESERVED_TYPE = "reserved_type"
    PRODUCER_NOT_ALLOWED = "producer_not_allowed"
    UNSIGNED = "unsigned"
    SIGNATURE_NOT_TAKEN = "signature_not_taken"
    MALFORMED_SIGNATURE = "malformed_signature"
    WRONG_AUDIENCE = "wrong_audience"
    UNKNOWN_KEY = "unknown_key"
    REVOKED_KEY = "revoked_key"
    KEY_NOT_IN_FORCE = "key_not_in_force"
    BAD_SIGNATURE = "bad_signature"
    SIGNATURE_EXPIRED = "signature_expired"
    ISSUED_IN_FUTURE = "issued_in_future"
    UNKNOWN_SCHEMA_VERSION = "unknown_schema_version"
    SCHEMA_VIOLATION = "schema_violation"
    SUBJECT_MISSING = "subject_missing"
    RESERVED_NAME = "reserved_name"


class EventRejectedError(Exception):
    """The record is not an event that Backbone accepts.

    `reason` is the stable code, `detail` one sentence for a person.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
