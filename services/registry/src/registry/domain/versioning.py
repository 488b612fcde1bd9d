"""How a definition changes: versions count from 1, and what was applied is never rewritten."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from contracts import canonical, definitions, identifiers


@dataclass(frozen=True, slots=True)
class DefinitionVersion:
    """One immutable version of a definition, with the etag and revision that stand with it.

    For the active version these are the definition's current ones.
    """

    namespace: str
    definition_id: str
    version: int
    content: bytes
    content_sha256: str
    etag: str
    applied_at: datetime | None
    applied_by: str
    reason: str
    revision: int
    enabled: bool = True

    def load(self) -> definitions.ActivityDefinition:
        """Return the definition that `content` holds."""
        return definitions.load(self.content)


def etag(namespace: str, definition_id: str, revision: int) -> str:
    """Return the etag of a definition as of `revision`: as unique as the revision is."""
    return identifiers.short_hash(namespace, definition_id, str(revision))


def candidate(
    definition: definitions.ActivityDefinition,
    *,
    active: DefinitionVersion | None,
    actor: str,
    reason: str,
) -> DefinitionVersion:
    """Return what applying `definition` on top of `active` would store; it has no revision yet."""
    content = definitions.content(definition)
    return DefinitionVersion(
        namespace=definition.metadata.namespace,
        definition_id=definition.metadata.id,
        version=active.version + 1 if active else 1,
        content=content,
        content_sha256=canonical.digest(content),
        etag="",
        applied_at=None,
        applied_by=actor,
        reason=reason,
        revision=0,
        enabled=active.enabled if active else True,
    )


def commit(
    version: DefinitionVersion,
    *,
    active: DefinitionVersion | None,
    revision: int,
    now: datetime,
) -> DefinitionVersion:
    """Return `version` with its place among all changes of the namespace.

    Its time is later than that of the version it follows, even if the clock was set back: the
    schedules of a version count from that time on.
    """
    if active is not None and active.applied_at is not None:
        now = max(now, active.applied_at + timedelta(microseconds=1))
    return replace(
        version,
        revision=revision,
        applied_at=now,
        etag=etag(version.namespace, version.definition_id, revision),
    )
