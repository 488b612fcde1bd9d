"""What another version would have decided of a run on record, and what cannot be known."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from backbone.ledger.v1.ledger_pb2 import GetRunResponse, Run
from contracts import canonical, identifiers
from contracts.definitions import ActivityDefinition
from contracts.envelope import Envelope
from contracts.shadows import ShadowOutcome
from contracts.triggers import Trigger, TriggerKind
from rules import backtests, comparisons
from rules.backtests import Again, PastRun, Verdict, Version
from rules.comparisons import TaskChange

RUN_ID = "a.b:event:" + "x" * 26
OVERDUE = [{"id": "INV-1", "amount": 5}, {"id": "INV-2", "amount": 50}]
EVENT = Envelope(
    event_id="1",
    type="paid",
    source="shop",
    occurred_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
    payload={"amount": 5},
)
TRIGGER = Trigger(kind=TriggerKind.EVENT, names=["paid"], definition_version=7, events=[EVENT])


def query(name: str = "overdue", **source: Any) -> dict[str, Any]:
    return {"name": name, "query": {"connector": "db", "statement": "overdue", **source}}


def send(**fields: Any) -> dict[str, Any]:
    return {"type": "automated", "handler": "send", "taskQueue": "mail-tq", **fields}


def remind(**task: Any) -> dict[str, Any]:
    return {
        "name": "remind",
        "forEach": {"item": "one", "in": "context.overdue"},
        "task": send(**{"key": "one.id", "input": {"amount": "one.amount"}, **task}),
    }


def version(number: int, *rules: Any, context: Any = None, **trigger: Any) -> Version:
    definition = ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "a.b", "namespace": "dev", "owner": "me"},
            "spec": {
                "taskQueue": "a-tq",
                "triggers": [{"name": "paid", "event": {"type": "paid", **trigger}}],
                "context": [query()] if context is None else context,
                "rules": list(rules) or [remind()],
            },
        }
    )
    return Version.of(definition, number)


def recorded(own: Version, snapshot: Any = None, trigger: Trigger = TRIGGER) -> PastRun:
    """The record that a worker leaves."""
    seen = {"overdue": OVERDUE} if snapshot is None else snapshot
    decision = own.program.decide(
        definition_version=own.number,
        namespace="dev",
        run_id=RUN_ID,
        trigger=trigger,
        snapshot=seen,
    )
    return PastRun(
        namespace="dev",
        run_id=RUN_ID,
        trigger=canonical.render(trigger),
        snapshot=canonical.render(seen),
        decision=canonical.render(decision),
    )


def test_what_the_ledger_lacks_of_a_run_is_none() -> None:
    run = Run(namespace="dev", run_id=RUN_ID)
    bare = PastRun.of(GetRunResponse(run=run))
    assert bare == PastRun("dev", RUN_ID, trigger=None, snapshot=None, decision=None)
    full = GetRunResponse(
        run=run, trigger=b"{1}", snapshot=b"{2}", decision=b"{3}", state_before=b"{4}"
    )
    assert PastRun.of(full) == PastRun("dev", RUN_ID, b"{1}", b"{2}", b"{3}", b"{4}")


def failed(trigger: Trigger = TRIGGER) -> PastRun:
    return PastRun("dev", RUN_ID, canonical.render(trigger), None, None)


OWN = version(7)


def test_a_version_that_means_the_same_decides_the_same() -> None:
    rewritten = remind(input={"amount": "one.amount + 0"})
    judged = backtests.judge(recorded(OWN), own=OWN, other=version(8, rewritten))
    assert judged == backtests.Judged(Verdict.SAME, again=Again.SAME_HASH)


def test_each_differing_task_is_told_with_the_fields_that_differ() -> None:
    small = remind(input={"amount": "one.amount * 2", "why": "'late'"}, timeout="2m")
    small["forEach"]["in"] = "context.overdue.filter(one, one.amount < 9)"
    more = {"name": "call", "task": send()}
    judged = backtests.judge(recorded(OWN), own=OWN, other=version(8, small, more))
    changed, removed, added = judged.differences
    assert judged.verdict is Verdict.DIFFERENT
    assert (changed.change, changed.task.key) == (TaskChange.CHANGED, "INV-1")
    assert [(one.path, one.before, one.after) for one in changed.fields] == [
        ("timeout", "60s", "120s"),
        ("input.amount", 5, 10),
        ("input.why", None, "late"),
    ]
    assert (removed.change, removed.task.key) == (TaskChange.REMOVED, "INV-2")
    assert (added.change, added.task.rule) == (TaskChange.ADDED, "call")
    assert added.task.task_id == identifiers.task_id("dev", RUN_ID, "call", "")


def test_assignees_and_the_kind_of_a_task_are_compared() -> None:
    def human(**fields: Any) -> dict[str, Any]:
        return {
            "name": "call",
            "task": {
                "type": "human",
                "title": "'Call'",
                "assignees": {"groups": ["desk"]},
                **fields,
            },
        }

    own = version(7, human())
    judged = backtests.judge(
        recorded(own), own=own, other=version(8, human(assignees={"users": ["ann"]}))
    )
    ((difference,),) = (one.fields for one in judged.differences)
    assert difference.path == "assignees"
    judged = backtests.judge(
        recorded(own), own=own, other=version(8, {"name": "call", "task": send()})
    )
    (changed,) = judged.differences
    assert changed.change is TaskChange.CHANGED
    assert {"type", "handler", "title", "assignees"} <= {one.path for one in changed.fields}


def test_true_and_one_differ() -> None:
    own = version(7, {"name": "r", "task": send(input={"x": "1"})})
    other = version(8, {"name": "r", "task": send(input={"x": "true"})})
    ((one,),) = (d.fields for d in backtests.judge(recorded(own), own=own, other=other).differences)
    assert (one.path, one.before, one.after) == ("input.x", 1, True)


def test_a_version_that_fails_differs_even_where_nothing_was_decided() -> None:
    none = {"name": "r", "when": "false", "task": send()}
    own = version(7, none)
    other = version(8, none | {"when": "event.payload.tip > 1"})
    judged = backtests.judge(recorded(own), own=own, other=other)
    assert (judged.verdict, judged.differences) == (Verdict.DIFFERENT, ())
    assert judged.reason.startswith("version 8 fails: rule 'r', when:")


def test_a_version_that_would_not_have_been_started_loses_its_tasks() -> None:
    other = version(8, match={"payload": {"amount": [{"numeric": [">", 9]}]}})
    judged = backtests.judge(recorded(OWN), own=OWN, other=other)
    assert judged.verdict is Verdict.DIFFERENT
    assert "would not have been started: paid: payload.amount: wanted" in judged.reason
    assert {one.change for one in judged.differences} == {TaskChange.REMOVED}
    # Where there was no task, nothing is lost.
    none = {"name": "r", "when": "false", "task": send()}
    own = version(7, none)
    other = version(8, none, match={"payload": {"amount": [{"numeric": [">", 9]}]}})
    assert backtests.judge(recorded(own), own=own, other=other).verdict is Verdict.SAME


def test_runs_that_failed_are_compared_where_nothing_is_looked_at() -> None:
    broken = {"name": "r", "when": "event.payload.tip > 1", "task": send()}
    own = version(7, broken, context=[])
    same = backtests.judge(failed(), own=own, other=version(8, broken, context=[]))
    assert (same.verdict, same.again) == (Verdict.SAME, Again.SAME_HASH)
    mended = version(8, broken | {"when": "true"}, context=[])
    judged = backtests.judge(failed(), own=own, other=mended)
    assert (judged.verdict, judged.reason) == (
        Verdict.DIFFERENT,
        "version 8 decides, where it failed",
    )
    assert [one.change for one in judged.differences] == [TaskChange.ADDED]


def without(**gone: Any) -> Callable[[PastRun], PastRun]:
    return lambda run: PastRun(**{**vars(run), **gone})


def tampered(run: PastRun) -> PastRun:
    assert run.snapshot is not None
    return PastRun(**{**vars(run), "snapshot": run.snapshot.replace(b"INV-1", b"*****")})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without(trigger=None), "its trigger is gone"),
        (without(trigger=b'{"kind":"psychic"}'), "its trigger cannot be read"),
        (without(decision=b"{}"), "its decision cannot be read"),
        (without(snapshot=None), "its snapshot is gone"),
        (without(decision=None), "it failed before it decided"),
        (tampered, "it was redacted"),
    ],
)
def test_what_the_record_lacks_is_not_guessed(
    spoil: Callable[[PastRun], PastRun], said: str
) -> None:
    judged = backtests.judge(spoil(recorded(OWN)), own=OWN, other=version(8))
    assert judged.verdict is Verdict.NOT_COMPARABLE
    assert said in judged.reason
    assert judged.differences == ()


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ([query(), query("more")], "its snapshot lacks context.more, at which version 8 looks"),
        ([query(statement="others")], "version 8 looks up context.overdue otherwise"),
        ([query(parameters={"until": "'now'"})], "version 8 looks up context.overdue otherwise"),
    ],
)
def test_what_was_not_looked_at_is_not_guessed(context: Any, said: str) -> None:
    judged = backtests.judge(recorded(OWN), own=OWN, other=version(8, context=context))
    assert (judged.verdict, judged.reason) == (Verdict.NOT_COMPARABLE, said)
    assert judged.again is Again.SAME_HASH


def test_how_a_parameter_is_spelled_makes_no_difference_and_less_context_is_enough() -> None:
    context = [query(parameters={"amount": "event.payload.amount"}), query("more")]
    own = version(7, context=context)
    run = recorded(own, {"overdue": OVERDUE, "more": []})
    spelled = [query(parameters={"amount": "int(event.payload['amount'])"})]
    assert backtests.judge(run, own=own, other=version(8, context=spelled)).verdict is Verdict.SAME


def test_a_record_that_its_own_version_does_not_give_is_told_and_not_compared() -> None:
    run = recorded(version(7, remind(input={"amount": "1"})))
    judged = backtests.judge(run, own=OWN, other=version(8))
    assert (judged.verdict, judged.again) == (Verdict.NOT_COMPARABLE, Again.OTHERWISE)
    assert "decided again, version 7 does not give what was recorded" in judged.reason


def test_a_trace_of_another_release_is_no_difference() -> None:
    run = recorded(OWN)
    decision = json.loads(run.decision or b"")
    decision["rules"][0]["items"] = None
    older = PastRun(**{**vars(run), "decision": canonical.render(decision)})
    judged = backtests.judge(older, own=OWN, other=version(8))
    assert (judged.verdict, judged.again) == (Verdict.SAME, Again.SAME_TASKS)


def test_a_run_that_failed_for_another_reason_is_not_compared() -> None:
    own = version(7, {"name": "r", "task": send()}, context=[])
    judged = backtests.judge(failed(), own=own, other=own)
    assert judged.verdict is Verdict.NOT_COMPARABLE
    assert "something else than its rules" in judged.reason


def test_equal_decisions_have_no_differences() -> None:
    tasks = OWN.program.decide(
        definition_version=7,
        namespace="dev",
        run_id=RUN_ID,
        trigger=TRIGGER,
        snapshot={"overdue": OVERDUE},
    ).tasks
    assert comparisons.compare(tasks, tasks) == ()


@pytest.mark.parametrize(
    ("outcome", "verdict", "said"),
    [
        (ShadowOutcome.FAILED, Verdict.DIFFERENT, "the shadow fails: why"),
        (ShadowOutcome.NOT_STARTED, Verdict.DIFFERENT, "would not have been started: why"),
        (ShadowOutcome.NOT_COMPARABLE, Verdict.NOT_COMPARABLE, "why"),
    ],
)
def test_a_shadow_without_a_decision_is_judged_by_its_reason(
    outcome: ShadowOutcome, verdict: Verdict, said: str
) -> None:
    judged = backtests.judge_shadow(recorded(OWN), outcome=outcome, reason="why", decision=b"")
    assert judged.verdict is verdict
    assert said in judged.reason
    assert len(judged.differences) == (2 if verdict is Verdict.DIFFERENT else 0)


def test_what_a_shadow_decided_is_compared_with_what_was_decided() -> None:
    run, other = recorded(OWN), recorded(version(8, remind(timeout="2m")))
    for decision, verdict, count in (
        (run.decision, Verdict.SAME, 0),
        (other.decision, Verdict.DIFFERENT, 2),
        (b"{}", Verdict.NOT_COMPARABLE, 0),
    ):
        judged = backtests.judge_shadow(
            run, outcome=ShadowOutcome.DECIDED, reason="", decision=decision or b""
        )
        assert (judged.verdict, len(judged.differences)) == (verdict, count)
    gone = PastRun(**{**vars(run), "decision": None})
    judged = backtests.judge_shadow(
        gone, outcome=ShadowOutcome.DECIDED, reason="", decision=run.decision or b""
    )
    assert judged.verdict is Verdict.NOT_COMPARABLE
