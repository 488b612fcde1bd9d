"""Routing on request: the router's own decisions, and nothing parked."""

import pytest

from router.domain.authentication import Authentication
from router.domain.instances import Directory
from router.errors import TransientError
from router.service.rerouting import Rerouting, UncountedObserver
from router.service.routing import Router

CAUSE = "redrive:r-1"
COLOURED = {"type": "paid", "when": "event.payload.colour == 'red'"}


@pytest.fixture
def rerouting(definitions, starter, seen, decision_log, pending, counts):  # noqa: PLR0917 - fixtures
    def router(namespace, dead_letters, decision_log):
        return Router(
            namespace,
            definitions=definitions,
            starter=starter,
            seen=seen,
            dead_letters=dead_letters,
            decision_log=decision_log,
            pending_starts=pending,
            observer=UncountedObserver(counts),
            directory=Directory(b"a secret of these tests"),
            authentication=Authentication(clock=lambda: 0, is_open=True),
            concurrency=4,
        )

    return Rerouting(
        router,
        definitions=definitions,
        starter=starter,
        decision_log=decision_log,
        authentication=Authentication(clock=lambda: 0, is_open=True),
    )


async def both(rerouting, record):
    """Return what would become of a record, and then what did."""
    return [
        (one.outcome, one.detail)
        for one in (
            await rerouting.preview(record, namespace="dev"),
            await rerouting.route(record, namespace="dev", cause=CAUSE),
        )
    ]


async def test_a_match_is_started_under_the_cause(  # noqa: PLR0917 - fixtures
    rerouting, definitions, starter, decision_log, counts, make
):
    definitions.put("a.b", {"type": "paid"})
    (would, _), (did, detail) = await both(rerouting, make.record(make.event(), offset=7))
    assert (would, did) == ("started", "started")
    (run_id,) = starter.runs
    assert detail == f"{run_id} started"
    assert [key[1:] for key in decision_log.events] == [(0, 7, CAUSE)]
    assert counts.outcomes == []


async def test_a_preview_changes_nothing_and_knows_what_was_started(
    rerouting, definitions, starter, decision_log, make
):
    definitions.put("a.b", {"type": "paid"})
    record = make.record(make.event())
    await rerouting.preview(record, namespace="dev")
    assert (starter.runs, decision_log.events) == ({}, {})
    await rerouting.route(record, namespace="dev", cause=CAUSE)
    known = await rerouting.preview(record, namespace="dev")
    assert known.outcome == "duplicate"
    assert "was started before" in known.detail


async def test_nobody_wanting_it_is_an_outcome(rerouting, decision_log, make):
    assert [outcome for outcome, _ in await both(rerouting, make.record(make.event()))] == [
        "no_match",
        "no_match",
    ]
    assert [one.records for one in decision_log.unrouted] == [1]


@pytest.mark.parametrize(
    ("value", "reason"), [(b"{", "malformed_json"), (None, "empty"), (b"\xff", "not_utf8")]
)
async def test_what_is_no_event_is_refused_with_its_reason(rerouting, make, value, reason):
    for outcome, detail in await both(rerouting, make.record(value)):
        assert outcome == "refused"
        assert detail.startswith(f"{reason}: ")


async def test_a_condition_that_errs_is_refused_beside_what_is_started(
    rerouting, definitions, starter, make
):
    definitions.put("a.b", {"type": "paid"})
    definitions.put("c.d", COLOURED)
    for outcome, detail in await both(rerouting, make.record(make.event())):
        assert outcome == "refused"
        assert detail.startswith("expression_error: c.d")
        assert "a.b:event:" in detail
    assert len(starter.runs) == 1


async def test_a_neighbour_that_is_away_leaves_no_outcome(
    rerouting, definitions, starter, decision_log, make
):
    definitions.put("a.b", {"type": "paid"})
    record = make.record(make.event())
    for neighbour in (starter, decision_log):
        neighbour.away = True
        with pytest.raises(TransientError):
            await rerouting.route(record, namespace="dev", cause=CAUSE)
        neighbour.away = False
    assert (await rerouting.route(record, namespace="dev", cause=CAUSE)).outcome == "started"
