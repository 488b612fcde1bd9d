"""The inbox as somebody has it who does what is in it."""

import json
import re
import uuid
from pathlib import Path

import pytest
from playwright.sync_api import expect
from shop import waited

DEFINITIONS = Path(__file__).parent / "inbox"


@pytest.fixture(scope="module")
def begin(backbone):
    """Has a task to visit somebody: its title, and its id."""
    backbone("apply", "-f", str(DEFINITIONS / "visits.yaml"), "--reason", "visits")

    def begin():
        customer = f"customer {uuid.uuid4().hex[:6]}"
        started = backbone(
            *("trigger", "browser.visits", "--input", json.dumps({"customer": customer})),
            *("--reason", "a test", "-o", "json"),
        )
        run_id = json.loads(started)["run_id"]
        found = waited(lambda: backbone("tasks", "list", "--run", run_id, "-o", "json"))
        return f"Visit {customer}", json.loads(found)["task_id"]

    return begin


def answered(backbone, task_id):
    return json.loads(backbone("tasks", "show", task_id, "-o", "json"))


def test_a_task_is_found_claimed_answered_and_kept_in_its_history(visit, backbone, begin):
    title, task_id = begin()
    page = visit.open("inbox")
    expect(page.get_by_role("link", name=title)).to_have_count(0)
    page.get_by_label("Group").fill("visitors")
    page.get_by_label("Definition").fill("browser.visits")
    page.get_by_label("Due", exact=True).select_option("overdue")
    page.get_by_role("button", name="Filter").click()
    row = page.get_by_role("row").filter(has_text=title)
    # It is due a second after it was made.
    waited(lambda: page.reload() and row.count())
    expect(row).to_contain_text("overdue")
    visit.check("inbox")
    page.get_by_role("link", name=title).click()

    page.get_by_role("button", name="Claim").click()
    expect(page.get_by_text("alex").last).to_be_visible()
    expect(page.get_by_role("button", name="Release")).to_be_hidden()
    page.get_by_label("What the history is to keep").fill("Nobody opens.\nI try again.")
    page.get_by_role("button", name="Comment").click()
    expect(page.get_by_role("row").filter(has_text="Nobody opens.")).to_be_visible()

    # What cannot be read, and what is missing, is told beside its field; what was typed is kept.
    page.get_by_label("Amount").fill("some")
    page.get_by_label("Note").fill("By the back door.")
    page.get_by_role("button", name="Complete").click()
    expect(page.get_by_role("alert")).to_contain_text("not complete")
    expect(page.get_by_label("Amount")).to_have_accessible_description(
        re.compile("In whole euros.*no whole number")
    )
    expect(page.get_by_label("Name")).to_have_accessible_description("This is needed.")
    expect(page.get_by_label("Note")).to_have_value("By the back door.")
    visit.check("task-refused")
    visit.picture("task", since="Answer")
    visit.expect_complaints()

    # What the ledger refuses is as well.
    page.get_by_role("radio", name="Yes").check()
    page.get_by_label("Amount").fill("5000")
    page.get_by_label("Mood").select_option("good")
    page.get_by_label("Next visit").fill("2026-03-01")
    page.get_by_label("Key words").fill("door\nbell\n")
    page.get_by_label("Name").fill("Generated")
    page.get_by_label("Anything else").fill('{"floor": 3}')
    page.get_by_role("button", name="Complete").click()
    expect(page.get_by_label("Amount")).to_have_accessible_description(
        re.compile("5000 is greater than the maximum of 1000")
    )
    visit.expect_complaints()
    page.get_by_label("Amount").fill("500")
    page.get_by_role("button", name="Complete").click()

    expect(page.get_by_role("button", name="Complete")).to_have_count(0)
    for what in ("claimed", "commented", "completed"):
        expect(page.get_by_role("row").filter(has_text=what)).to_contain_text("local/alex")
    assert answered(backbone, task_id)["output"] == {
        "reached": True,
        "amount": 500,
        "mood": "good",
        "next": "2026-03-01",
        "words": ["door", "bell"],
        "contact": {"name": "Generated", "note": "By the back door."},
        "more": {"floor": 3},
    }
    visit.check("task")


def test_a_task_is_given_back_and_away_and_cancelled_for_a_reason(visit, backbone, begin):
    title, task_id = begin()
    page = visit.open(f"inbox/task?id={task_id}")
    page.get_by_role("button", name="Claim").click()
    page.get_by_text("Give it back").click()
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_role("button", name="Claim")).to_be_visible()
    page.get_by_text("Reassign", exact=True).first.click()
    page.get_by_label("Users").fill("alex, ana")
    page.get_by_label("Reason").and_(page.locator(":visible")).fill("closer by")
    page.get_by_role("button", name="Reassign").click()
    expect(page.get_by_role("row").filter(has_text="closer by")).to_contain_text("alex, ana")

    visit.open("inbox")
    page.get_by_role("link", name=title).click()
    # Somebody was faster: what was typed is kept, and what is the case is told.
    page.get_by_label("Note").fill("Kept.")
    backbone("tasks", "claim", task_id)
    page.get_by_label("Amount").fill("1")
    page.get_by_role("radio", name="No", exact=True).check()
    page.get_by_label("Name").fill("Generated")
    page.get_by_role("button", name="Complete").click()
    expect(page.get_by_role("alert")).to_contain_text("Somebody else was faster")
    expect(page.get_by_label("Note")).to_have_value("Kept.")
    visit.expect_complaints()

    page.get_by_text("Cancel", exact=True).first.click()
    page.get_by_label("Reason").and_(page.locator(":visible")).fill("moved away")
    page.get_by_role("button", name="Cancel the task").click()
    expect(page.get_by_role("row").filter(has_text="moved away")).to_contain_text("cancelled")
    expect(page.get_by_role("button", name="Complete")).to_have_count(0)
    assert answered(backbone, task_id)["status"] == "cancelled"
