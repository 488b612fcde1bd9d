"""Which rows may leave the outbox."""

from hypothesis import given
from hypothesis import strategies as st

from outbox_relay.domain import batches
from outbox_relay.domain.batches import PendingRow


def row(position: int, stream: str) -> PendingRow:
    return PendingRow(position, "dev", stream, "t", stream, (), b"x")


def test_a_row_behind_a_failed_row_of_its_stream_stays():
    rows = [row(1, "a"), row(2, "b"), row(3, "a"), row(4, "b")]
    settled = batches.settle(rows, {1: "refused"})
    assert settled.published == (2, 4)
    assert settled.held == {("dev", "a"): "refused"}


def test_streams_of_the_same_name_in_two_namespaces_are_two_streams():
    other = PendingRow(2, "prod", "a", "t", "a", (), b"x")
    assert batches.settle([row(1, "a"), other], {1: "refused"}).published == (2,)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30),
)
def test_what_leaves_is_a_prefix_of_every_stream(plan):
    rows = [row(position, stream) for position, (stream, _) in enumerate(plan)]
    failures = {position: "no" for position, (_, fails) in enumerate(plan) if fails}
    published = set(batches.settle(rows, failures).published)
    assert not published & set(failures)
    for stream in "abc":
        left = [r.position in published for r in rows if r.stream == stream]
        assert left == sorted(left, reverse=True)
        acknowledged = [r.position not in failures for r in rows if r.stream == stream]
        if all(acknowledged):
            assert all(left)
