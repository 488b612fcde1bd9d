"""Checks answers against the JSON Schema of a task's form, which comes from a definition's author.

Nothing is fetched, and a pattern cannot make the check run away.
"""

import json
from typing import Never

import jsonschema_rs

from ledger.errors import PreconditionError

_SHOWN = 5
_BACKTRACK_LIMIT = 100_000


class JsonSchemaForms:
    """`ports.FormChecker` by JSON Schema 2020-12."""

    def problems(self, form: bytes, answer: bytes) -> list[str]:
        """Return what is wrong with an answer, one sentence each; empty when it fits.

        Raises:
            PreconditionError: the form is not a usable schema.
        """
        try:
            validator = jsonschema_rs.Draft202012Validator(
                json.loads(form),
                retriever=_refuse,
                pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT),
            )
        except ValueError as exc:
            raise PreconditionError(
                f"the task's form is not a usable JSON Schema: {str(exc).splitlines()[0]}"
            ) from exc
        found: list[str] = []
        for error in validator.iter_errors(json.loads(answer)):
            path = ".".join(str(part) for part in error.instance_path) or "answer"
            found.append(f"{path}: {error.message[:200]}")
            if len(found) == _SHOWN:
                break
        return found


def _refuse(uri: str) -> Never:
    raise ValueError(f"a form refers to nothing outside of itself: {uri}")
