"""Which instance an event is told to, where a definition is stateful."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from contracts import identifiers
from router.errors import TransientError
from rules import correlations
from rules.correlations import Correlation


@dataclass(frozen=True, slots=True)
class Address:
    """The instance of a correlation key, and on which queue its workflow is."""

    definition_id: str
    key_hash: str
    task_queue: str

    @property
    def workflow_id(self) -> str:
        """The id of its workflow."""
        return identifiers.instance_workflow_id(self.definition_id, self.key_hash)


class Directory:
    """Finds the instance of an event: the hash of its correlation key, under a secret."""

    def __init__(self, secret: bytes | None) -> None:
        """Without a secret none is found."""
        self._secret = secret

    def address(
        self,
        correlation: Correlation,
        *,
        definition_id: str,
        task_queue: str,
        names: Collection[str],
        document: Mapping[str, Any],
    ) -> Address:
        """Return whose instance an event is, as the first of the matching triggers `names` says.

        Raises:
            ExpressionError: as `rules.correlations.key`.
            TransientError: there is no secret.
        """
        found = correlations.key(correlation, names, document)
        if self._secret is None:
            raise TransientError(
                "no secret to hash correlation keys under: set BACKBONE_INSTANCE_KEY_SECRET_FILE"
            )
        key_hash = identifiers.key_hash(self._secret, definition_id, found)
        return Address(definition_id, key_hash, task_queue)
