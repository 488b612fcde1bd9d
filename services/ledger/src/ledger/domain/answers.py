"""Answers of human tasks against the forms that definitions' authors wrote."""

import json

from ledger.errors import PreconditionError
from rules import jsonschemas
from rules.errors import SchemaError


def problems(form: bytes, answer: bytes) -> list[str]:
    """Return what is wrong with an answer, one sentence each; empty when it fits.

    Raises:
        PreconditionError: the form is not a usable JSON Schema.
    """
    try:
        return jsonschemas.compile(json.loads(form)).problems(json.loads(answer), name="answer")
    except SchemaError as exc:
        raise PreconditionError(f"the task's form is not a usable JSON Schema: {exc}") from exc
