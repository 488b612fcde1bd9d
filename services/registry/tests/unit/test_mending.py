"""The planner: one step makes it as it should be, and what others did is told from ours."""

from hypothesis import given
from hypothesis import strategies as st

from registry.domain import mending
from registry.domain.materialisation import Tampered
from registry.domain.mending import Difference, DriftKind, Expected, Plan, Standing, Step

MARKS = ("a" * 26, "b" * 26)
FACTS = st.dictionaries(st.sampled_from(["spec", "state", "action"]), st.sampled_from(["1", "2"]))
EXPECTED = st.none() | st.builds(Expected, st.sampled_from(MARKS), FACTS)
STANDING = st.none() | st.builds(
    Standing, st.sampled_from([*MARKS, *Tampered]), FACTS, st.binary(max_size=2)
)


def carried_out(
    plan: Plan, expected: Expected | None, standing: Standing | None
) -> Standing | None:
    """Return what stands after a step, by what the steps are called."""
    if plan.step is Step.LEAVE:
        return standing
    if plan.step is Step.REMOVE:
        assert standing is not None
        return None
    assert (standing is None) == (plan.step is Step.CREATE)
    assert expected is not None
    return Standing(expected.fingerprint, expected.facts, b"new")


@given(expected=EXPECTED, standing=STANDING, handed_on=st.booleans())
def test_one_step_makes_it_as_it_should_be_and_the_next_look_leaves_it(
    *, expected: Expected | None, standing: Standing | None, handed_on: bool
) -> None:
    plan = mending.plan(expected, standing, handed_on=handed_on)
    after = carried_out(plan, expected, standing)
    assert (after is None) == (expected is None)
    if after is not None and expected is not None:
        assert after.facts == expected.facts
    assert mending.plan(expected, after, handed_on=True) == Plan(Step.LEAVE)


@given(expected=EXPECTED, standing=STANDING)
def test_what_was_handed_on_and_differs_is_somebody_elses_doing_unless_it_bears_our_other_mark(
    expected: Expected | None, standing: Standing | None
) -> None:
    plan = mending.plan(expected, standing, handed_on=True)
    ours = (
        plan.step is Step.UPDATE
        and expected is not None
        and standing is not None
        and standing.mark in set(MARKS) - {expected.fingerprint}
    )
    assert (plan.drift is None) == (plan.step is Step.LEAVE or ours)


@given(expected=EXPECTED, standing=STANDING)
def test_what_was_not_handed_on_yet_is_neither_missed_nor_unexpected(
    expected: Expected | None, standing: Standing | None
) -> None:
    plan = mending.plan(expected, standing, handed_on=False)
    assert plan.drift in {None, DriftKind.DIFFERENT}


def test_what_differs_is_told_by_path_with_both_values() -> None:
    wanted = Expected(MARKS[0], {"a": "1", "b": "2", "c": "x" * 1000})
    found = Standing(Tampered.EDITED, {"a": "1", "b": "3", "d": "4", "c": "x" * 999}, b"")
    plan = mending.plan(wanted, found, handed_on=True)
    assert [(one.path, one.wanted, one.found) for one in plan.differences if one.path != "c"] == [
        ("b", "2", "3"),
        ("d", None, "4"),
    ]
    (long,) = [one for one in plan.differences if one.path == "c"]
    assert long.wanted is not None
    assert len(long.wanted) == 300


def test_no_more_is_told_of_one_than_fits_a_record() -> None:
    facts = {f"path{number:03}": "1" for number in range(100)}
    plan = mending.plan(None, Standing(MARKS[0], facts, b""), handed_on=True)
    assert len(plan.differences) == mending.MAX_DIFFERENCES
    assert plan.differences[0] == Difference("path000", None, "1")
