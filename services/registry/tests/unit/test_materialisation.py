"""What a definition asks of the ledger and the clock, by the state that it is in."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.resources import ChangeKind, ResourceKind, ResourceState
from registry.domain import materialisation
from registry.domain.resources import Change, Key, Resource
from registry.errors import MaterialisationError

KEY = Key(ResourceKind.ACTIVITY_DEFINITION, "billing.overdue")
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def resource(document: Callable[..., bytes]) -> Callable[..., Resource]:
    """Makes a version of a definition whose last change was at noon."""

    def make(
        change: ChangeKind = ChangeKind.APPLIED,
        state: ResourceState = ResourceState.ACTIVE,
        *,
        version: int = 1,
        revision: int = 1,
        **schedule: Any,
    ) -> Resource:
        applied = Change(
            1, KEY, ChangeKind.APPLIED, version, ResourceState.ACTIVE, NOON, "ada", "why"
        )
        return Resource(
            namespace="dev",
            key=KEY,
            version=version,
            content=document(KEY.resource_id, **(schedule or {"every": "1h"})),
            content_sha256="0" * 64,
            applied=applied,
            latest=Change(revision, KEY, change, version, state, NOON, "bob", "because"),
            versions=version,
        )

    return make


def fingerprint(resource: Resource) -> str:
    wakeup = materialisation.wakeup(materialisation.desired(resource))
    assert wakeup is not None
    return wakeup.fingerprint


def test_schedules_count_from_the_last_change_on(resource: Callable[..., Resource]) -> None:
    wanted = materialisation.desired(
        resource(ChangeKind.DISABLED, ResourceState.DISABLED, revision=7)
    )
    assert (wanted.effective_from, wanted.reason, wanted.revision) == (NOON, "because", 7)
    assert not wanted.enabled
    assert list(wanted.schedules) == ["often"]


def test_retired_definition_asks_for_nothing(resource: Callable[..., Resource]) -> None:
    wanted = materialisation.desired(resource(ChangeKind.RETIRED, ResourceState.RETIRED))
    assert (wanted.schedules, wanted.enabled) == ({}, False)
    assert materialisation.wakeup(wanted) is None


def test_fingerprint_does_not_change_with_what_makes_no_difference(
    resource: Callable[..., Resource],
) -> None:
    first = resource()
    enabled_again = resource(ChangeKind.ENABLED, revision=5)
    later = replace(first, latest=replace(first.latest, reason="other", at=NOON + timedelta(1)))
    assert fingerprint(first) == fingerprint(enabled_again) == fingerprint(later)


def test_fingerprint_changes_with_version_state_and_times(
    resource: Callable[..., Resource],
) -> None:
    prints = {
        fingerprint(resource()),
        fingerprint(resource(version=2)),
        fingerprint(resource(ChangeKind.DISABLED, ResourceState.DISABLED)),
        fingerprint(resource(every="2h")),
        fingerprint(resource(cron="0 * * * *")),
    }
    assert len(prints) == 5


def test_something_due_since_the_last_change_is_overdue(
    resource: Callable[..., Resource],
) -> None:
    wanted = materialisation.desired(resource())
    assert not materialisation.overdue(wanted, now=NOON + timedelta(minutes=59))
    assert materialisation.overdue(wanted, now=NOON + timedelta(hours=1))


def test_what_was_due_while_disabled_is_overdue_once_enabled(
    resource: Callable[..., Resource],
) -> None:
    disabled = materialisation.desired(resource(ChangeKind.DISABLED, ResourceState.DISABLED))
    assert not materialisation.overdue(disabled, now=NOON + timedelta(hours=5))
    enabled = materialisation.desired(resource(ChangeKind.ENABLED))
    assert materialisation.overdue(enabled, now=NOON)


def test_definition_that_this_release_cannot_read_is_refused(
    resource: Callable[..., Resource],
) -> None:
    odd = replace(resource(), content=b'{"kind": "ActivityDefinition"}')
    with pytest.raises(MaterialisationError, match="version 1 cannot be read by this release"):
        materialisation.desired(odd)


def test_absence_of_a_neighbour_is_told_from_a_refusal() -> None:
    assert materialisation.is_waiting(materialisation.waits_for("Temporal"))
    assert not materialisation.is_waiting("the ledger refuses the schedules: no such zone")
