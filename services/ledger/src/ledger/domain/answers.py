"""Answers of human tasks against the forms that definitions' authors wrote."""

import json

from ledger.errors import PreconditionError
from rules import jsonschemas
from rules.errors import SchemaError
from rules.problems import Problem


def problems(form: bytes, answer: bytes) -> list[Problem]:
    """Return what is wrong with an answer, and where in it; empty when it fits.

    Raises:
        PreconditionError: the form is not a usable JSON Schema.
    """
    try:
        return jsonschemas.compile(json.loads(form)).violations(json.loads(answer))
    except SchemaError as exc:
        raise PreconditionError(f"the task's form is not a usable JSON Schema: {exc}") from exc
