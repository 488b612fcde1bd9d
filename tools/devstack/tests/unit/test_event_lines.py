import pytest

from devstack import event_lines


def event(kind, **payload):
    return {
        "type": f"backbone.{kind}",
        "occurred_at": "2026-03-02T12:00:00Z",
        "payload": {"definition_id": "a.b", "run_id": "a.b:event:x", "rule": "r"} | payload,
    }


@pytest.mark.parametrize(
    ("of", "told"),
    [
        (event("TaskCompleted", key="k", output={"a": 1}), 'a.b  event:x  r, k, {"a": 1}'),
        (event("TaskFailed", failure={"type": "T", "message": "no"}), "a.b  event:x  r, T: no"),
        (
            event("RunDecided", rule=None, trigger_names=["t"], tasks=1),
            "a.b  event:x  by t, 1 task",
        ),
        (
            event("TaskEscalated", assignees={"groups": ["leads"]}, title="Look"),
            "a.b  event:x  r, Look, for @leads",
        ),
        (
            {"type": "backbone.DefinitionApplied", "payload": {"resource_id": "a.b", "version": 2}},
            "a.b  version 2",
        ),
    ],
)
def test_line_says_what_of_whom_and_why(of, told):
    assert event_lines.line(of).endswith(f"  {told}")


def test_what_a_terminal_would_obey_is_not():
    text = event_lines.line(event("TaskCompleted", output="\x1b[31mred\nline"))
    assert text.isprintable()


def test_what_is_no_event_is_a_line_all_the_same():
    assert event_lines.line({"payload": [1], "occurred_at": "now"}).startswith("--:--:--  ?")
    assert len(event_lines.line(event("TaskCompleted", output="x" * 1000))) < 200
