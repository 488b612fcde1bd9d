"""Definitions in the console: applied, compared, held, timed and tried, as a person does it."""

import json
import re
import time
import uuid

import pytest
import yaml
from playwright.sync_api import expect

CLAIM = {
    "type": "object",
    "required": ["amount"],
    "properties": {"amount": {"type": "number"}},
}
LATE = {"policy": "compress", "window": "1h"}
DAILY = {"cron": "0 6 * * *", "timezone": "UTC", "missedRuns": LATE, "overlap": "skip"}


def event_type(name):
    return {
        "apiVersion": "backbone/v1",
        "kind": "EventType",
        "metadata": {"id": name, "namespace": "dev", "owner": "browser"},
        "spec": {"schemas": [{"version": 1, "schema": CLAIM}]},
    }


def definition(name, *triggers, when="true", **spec):
    """Has a person look at it, when `when` says so."""
    look = {"type": "human", "title": "'Look at it'", "assignees": {"groups": ["lookouts"]}}
    return {
        "apiVersion": "backbone/v1",
        "kind": "ActivityDefinition",
        "metadata": {"id": name, "namespace": "dev", "owner": "browser"},
        "spec": {
            "taskQueue": "e2e-tq",
            "triggers": list(triggers),
            "rules": [{"name": "look", "when": when, "task": look}],
            **spec,
        },
    }


def made(name, limit):
    """A definition of claims from `limit` on, which holds events while it is disabled."""
    return definition(
        name,
        {"name": "made", "event": {"type": f"{name}.made"}},
        when=f"double(event.payload.amount) >= {float(limit)}",
        whileDisabled="hold",
    )


@pytest.fixture
def name():
    return f"browser.claims-{uuid.uuid4().hex[:6]}"


@pytest.fixture
def applied(backbone, tmp_path):
    """Apply documents with the command: what a test is not about."""

    def apply(*documents):
        files = []
        for document in documents:
            file = tmp_path / f"{document['metadata']['id']}.yaml"
            file.write_text(yaml.safe_dump(document))
            files += ["-f", str(file)]
        backbone("apply", *files, "--reason", "a test's")

    return apply


def as_files(*documents):
    return [
        {
            "name": f"{document['kind']}.yaml".lower(),
            "mimeType": "application/yaml",
            "buffer": yaml.safe_dump(document, sort_keys=False).encode(),
        }
        for document in documents
    ]


def plan(visit, *files):
    page = visit.open("definitions/apply")
    page.get_by_label("Files", exact=True).set_input_files(list(files))
    page.get_by_role("button", name="Plan").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Plan")
    return page


def do(page, button, reason):
    """Press a button with a reason in its form."""
    form = page.locator("form").filter(has=page.get_by_role("button", name=button, exact=True))
    form.get_by_label("Reason").fill(reason)
    form.get_by_role("button", name=button, exact=True).click()


def reload_until(page, locator, *, seconds=60):
    """Look again until something is on the page."""
    ends = time.monotonic() + seconds
    while locator.count() == 0:
        assert time.monotonic() < ends, page.locator("main").inner_text()
        page.reload()


def test_files_are_planned_applied_compared_and_rolled_back(visit, name):
    wrong = made(name, 100)
    wrong["spec"]["rules"][0]["when"] = "event.payload.amuont > 1"
    page = plan(visit, *as_files(event_type(f"{name}.made"), wrong))
    expect(page.get_by_role("alert")).to_contain_text("Nothing can be applied: 1 problem")
    expect(page.get_by_role("row").nth(1)).to_contain_text(
        re.compile(r"activitydefinition\.yaml:\d+:\d+\s+spec\.rules\[0\]\.when.*amuont", re.DOTALL)
    )
    expect(page.get_by_role("button", name="Apply")).to_have_count(0)
    visit.check("problems")
    visit.expect_complaints()

    page = plan(visit, *as_files(event_type(f"{name}.made"), made(name, 100)))
    expect(page.get_by_text("2 to create")).to_be_visible()
    visit.check("plan")
    do(page, "Apply", "claims are looked at")
    expect(page.get_by_role("heading", level=1)).to_have_text("Applied")
    page = plan(visit, *as_files(made(name, 50)))
    expect(page.get_by_text("1 to update")).to_be_visible()
    expect(page.get_by_text(">= 50").first).to_be_attached()
    do(page, "Apply", "smaller ones too")
    expect(page.get_by_text("1 updated")).to_be_visible()

    visit.open("definitions")
    visit.check("definitions")
    page.get_by_role("link", name=name).click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("smaller ones too")
    expect(page.get_by_role("row").nth(1)).to_contain_text("alex")
    visit.check("definition")
    page.get_by_role("link", name="What changed").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{name}: version 1 to version 2")
    expect(page.locator("ul.differences")).to_contain_text("rule look")
    visit.check("difference")
    visit.picture("difference")

    page = visit.open(f"definition?id={name}&version=1")
    do(page, "Activate", "too many")
    expect(page.locator("dl.facts")).to_contain_text("1, the current one")
    expect(page.get_by_role("row").nth(1)).to_contain_text("activated")


def test_a_plan_that_is_not_the_plan_any_more_is_not_carried_out(visit, name, applied):
    applied(event_type(f"{name}.made"))
    page = plan(visit, *as_files(made(name, 100)))
    applied(made(name, 70))
    do(page, "Apply", "late")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was applied")
    expect(page.get_by_text("1 to update")).to_be_visible()


def test_a_disabled_definition_holds_events_that_become_one_run(
    visit, name, applied, backbone, tmp_path
):
    applied(event_type(f"{name}.made"), made(name, 100))
    page = visit.open(f"definition?id={name}")
    do(page, "Disable", "the clerks are away")
    expect(page.locator("dl.facts")).to_contain_text("the clerks are away")
    events = tmp_path / "events"
    event = {"type": f"{name}.made", "source": "browser", "payload": {"amount": 500}}
    events.write_text(f"{json.dumps(event)}\n{json.dumps(event)}\n")
    backbone("publish", "dev.orders", "-f", str(events), "--fill")
    reload_until(page, page.locator("dl.facts").get_by_text("2 events"))
    visit.check("disabled")
    page.get_by_label("Compress").check()
    do(page, "Enable", "they are back")
    expect(page.get_by_role("row").nth(1)).to_contain_text("held events: compress")
    expect(page.locator("dl.facts")).to_contain_text("active")
    page.get_by_role("link", name="Runs of this definition").click()
    reload_until(page, page.get_by_role("link", name=f"{name}:"))
    expect(page.get_by_role("link", name=f"{name}:")).to_have_count(1)
    page.get_by_role("link", name=f"{name}:").click()
    expect(page.locator("main")).to_contain_text("made")


def test_due_times_are_seen_and_their_clock_is_held_and_let_go(visit, name, applied):
    schedule = {"every": "1s", "missedRuns": LATE, "overlap": "allowAll"}
    applied(definition(name, {"name": "tick", "schedule": schedule}, when="false"))
    page = visit.open(f"definition/schedule?id={name}")
    reload_until(page, page.get_by_role("heading", name="Due times"))
    # By itself, without the page being loaded again.
    newest = page.locator("#due-times tbody tr").first
    expect(newest).to_contain_text("run")
    expect(newest).not_to_contain_text(newest.locator("time").inner_text())
    expect(page.get_by_role("img", name=re.compile(r"^run: \d+ due time"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile(r"^ahead: "))).to_be_visible()
    page.get_by_label("When a run is open").select_option("allowAll")
    do(page, "Trigger", "now, please")
    reload_until(page, page.locator("#due-times tbody tr").filter(has_text="now, please"))
    do(page, "Pause", "the market is closed")
    expect(page.locator("dl.facts")).to_contain_text("the market is closed")
    visit.check("schedule")
    visit.picture("schedule", since="Due times")
    page.get_by_label("Time (UTC)").fill("2001-01-01T00:00:00")
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("status")).to_be_visible()
    do(page, "Resume", "it is open")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_a_due_time_ahead_is_skipped(visit, name, applied):
    applied(definition(name, {"name": "daily", "schedule": DAILY}))
    page = visit.open(f"definition/schedule?id={name}")
    reload_until(page, page.get_by_role("heading", name="Due times"))
    do(page, "Skip the next", "a holiday")
    expect(page.locator("dl.facts")).to_contain_text("a holiday")
    expect(page.locator("dl.facts")).to_contain_text("Will not run")


def test_another_version_is_tried_on_past_runs(visit, name, applied, backbone):
    by_hand = {"name": "by-hand", "manual": {"input": CLAIM}}
    applied(definition(name, by_hand, when="double(trigger.input.amount) >= 100.0"))
    applied(definition(name, by_hand, when="double(trigger.input.amount) >= 10.0"))
    for amount in (5, 50):
        backbone("trigger", name, "--input", json.dumps({"amount": amount}))
    page = visit.open(f"definition/backtest?id={name}&to=1")
    reload_until(page, page.get_by_text("2 runs looked at"))
    expect(page.get_by_role("status")).to_contain_text("1 same, 1 different, 0 not comparable")
    expect(page.locator("ul.differences")).to_contain_text("removed look: Look at it")
    visit.check("backtest")
    visit.picture("backtest")
    page.get_by_label("Version to try").fill("2")
    page.get_by_role("button", name="Try it").click()
    expect(page.get_by_role("status")).to_contain_text("2 same, 0 different")


def test_a_pasted_event_is_simulated_and_what_is_none_can_be_put_right(visit, name, applied):
    applied(event_type(f"{name}.made"), made(name, 100))
    page = visit.open(f"definition/simulate?id={name}")
    page.get_by_label("Event", exact=True).fill('{"type": ')
    page.get_by_role("button", name="Simulate").click()
    expect(page.get_by_role("alert")).to_contain_text("That is no event")
    visit.expect_complaints()
    event = {"type": f"{name}.made", "source": "browser", "payload": {"amount": 500}}
    page.get_by_label("Event", exact=True).fill(json.dumps(event))
    page.get_by_role("button", name="Simulate").click()
    expect(page.get_by_role("status")).to_contain_text("trigger made matches")
    expect(page.get_by_role("status")).to_contain_text("It would decide 1 task")
    page.get_by_text("Task 1: look, Look at it").click()
    expect(page.get_by_label("Task 1: look")).to_contain_text("lookouts")
    visit.check("simulation")
    page.get_by_label("Event", exact=True).fill(json.dumps(event | {"type": "other"}))
    page.get_by_role("button", name="Simulate").click()
    expect(page.get_by_role("status")).to_contain_text("Nothing would be started")
    page.get_by_role("link", name="Schedule").click()
    expect(page.locator("main")).to_contain_text("It has no schedule")
