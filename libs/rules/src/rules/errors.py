"""The errors of this package. Every message is one sentence for the author of a definition."""

from collections.abc import Sequence


class RulesError(Exception):
    """A definition says something that cannot be done, or met data it does not fit."""


class ExpressionError(RulesError):
    """A CEL expression does not compile, or gave an error instead of a value."""


class PatternError(RulesError):
    """An event pattern is not one. `path` leads to the part that is wrong."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path or 'pattern'}: {message}")
        self.path = path
        self.message = message


class ScheduleError(RulesError):
    """A schedule's cron expression or time zone cannot be read, or is never due."""


class SchemaError(RulesError):
    """A JSON Schema cannot be used."""


class DecisionError(RulesError):
    """A run cannot decide. `rule` is None when the fault is not in a rule; `path` names the field.

    The same version, trigger and snapshot give the same error: trying again cannot help.
    """

    def __init__(self, rule: str | None, path: str, message: str) -> None:
        where = f"rule {rule!r}, {path}" if rule is not None else path
        super().__init__(f"{where}: {message}")
        self.rule = rule
        self.path = path
        self.message = message


class SensitiveUnknownError(DecisionError):
    """Something sensitive is decided upon whose value is not given: erased, or not shown."""

    def __init__(self, blob_ids: Sequence[str]) -> None:
        super().__init__(
            None,
            "event",
            f"{len(blob_ids)} sensitive values that it refers to are not given: they are erased, "
            "or were not asked for",
        )
        self.blob_ids = tuple(blob_ids)


class NotTriggeredError(RulesError):
    """A cause satisfies no trigger of a definition."""


class GatheredOtherwiseError(RulesError):
    """A definition gathers events into batches otherwise than they were gathered."""
