from console.domain.chains import Node, Picture, Run, Task


def event(event_id: str, source: str = "shop", **fields: object) -> dict[str, object]:
    return {"event_id": event_id, "source": source, "type": f"{event_id}.happened", **fields}


def told(nodes: list[Node]) -> list[object]:
    """Return the nodes as (kind, id, parts), with a * behind the ids that are told elsewhere."""
    return [(one.kind, one.id + "*" * one.again, told(list(one.parts))) for one in nodes]


PAID = Run(
    "r1", "billing.paid", "waiting", {"events": [event("paid")]}, [Task("t1", "Ask", "open")]
)
DONE = event("done", "backbone/ledger", subject="t1", payload={"run_id": "r1"})
NEXT = Run("r2", "billing.asked", "completed", {"events": [DONE]}, [Task("t2", "Tell", "open")])


def test_an_event_leads_to_runs_their_tasks_the_events_of_these_and_on() -> None:
    assert told(Picture([PAID, NEXT]).of_event("paid")) == [
        (
            *("event", "paid"),
            [
                (
                    *("run", "r1"),
                    [
                        (
                            *("task", "t1"),
                            [("event", "done", [("run", "r2", [("task", "t2", [])])])],
                        )
                    ],
                )
            ],
        )
    ]


def test_a_picture_of_a_run_begins_with_what_started_it() -> None:
    assert told(Picture([NEXT]).of_run("r2")) == [
        ("event", "done", [("run", "r2", [("task", "t2", [])])])
    ]
    by_hand = Run("r3", "billing.paid", "running", {"request_id": "x"})
    assert told(Picture([by_hand]).of_run("r3")) == [("run", "r3", [])]


def test_what_leads_back_to_itself_is_told_once() -> None:
    looped = Run(
        *("r2", "billing.paid", "running", {"events": [DONE]}),
        [Task("t1", "Ask", "open")],
    )
    assert told(Picture([PAID, looped]).of_event("done")) == [
        ("event", "done", [("run", "r2", [("task", "t1", [("event", "done*", [])])])])
    ]


def test_a_run_that_a_task_has_started_follows_from_the_task() -> None:
    started = Run("r4", "billing.more", "running", {"chain": {"causation_id": "t1"}})
    assert told(Picture([PAID, started]).of_run("r1")) == [
        ("event", "paid", [("run", "r1", [("task", "t1", [("run", "r4", [])])])])
    ]


def test_an_event_of_a_run_itself_stands_below_the_run() -> None:
    failed = event("failed", "backbone/ledger", subject="r1", payload={"run_id": "r1"})
    after = Run("r5", "billing.sorry", "running", {"events": [failed]})
    (paid,) = Picture([PAID, after]).of_event("paid")
    assert told(list(paid.parts[0].parts)) == [
        ("task", "t1", []),
        ("event", "failed", [("run", "r5", [])]),
    ]


def test_of_two_sources_with_one_id_both_are_told_or_the_one_that_is_meant() -> None:
    other = Run("r6", "billing.paid", "running", {"events": [event("paid", "till")]})
    picture = [PAID, other]
    assert [one.source for one in Picture(picture).of_event("paid")] == ["shop", "till"]
    assert [one.source for one in Picture(picture).of_event("paid", "till")] == ["till"]
    assert Picture(picture).of_event("unknown") == []
