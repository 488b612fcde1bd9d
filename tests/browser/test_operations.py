"""Operations as an operator does them: what was refused, what is stopped, what waits."""

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Producer
from playwright.sync_api import expect
from shop import waited

DEFINITIONS = Path(__file__).parent / "operations"
PARCELS = DEFINITIONS / "parcels.yaml"
TYPE = "browser.parcel.sent"


@pytest.fixture(scope="module")
def send(suite, backbone):
    """Sends a parcel's event, or several; returns their ids."""
    for file in (DEFINITIONS / "parcel-sent.yaml", PARCELS, DEFINITIONS / "scales.yaml"):
        backbone("apply", "-f", str(file), "--reason", "parcels")
    producer = Producer({"bootstrap.servers": suite.endpoints.kafka_bootstrap_servers})

    def send(*payloads):
        ids = [f"parcel-{uuid.uuid4().hex[:10]}" for _ in payloads]
        for event_id, payload in zip(ids, payloads, strict=True):
            event = {
                "event_id": event_id,
                "type": TYPE,
                "source": "parcels",
                "occurred_at": datetime.now(UTC).isoformat(),
                "subject": event_id,
                "payload": payload,
            }
            producer.produce("dev.orders", value=json.dumps(event).encode())
        assert producer.flush(30) == 0
        return ids

    def known():
        # The router may not know of the definitions yet.
        send({"number": 1, "weight": 12})
        return all(
            backbone("decisions", "--definition", name, "-o", "json")
            for name in ("browser.parcels", "browser.scales")
        )

    waited(known)
    return send


def confirm(page, button, reason):
    """Say why, in the form of a button, and press it."""
    form = page.locator("form").filter(has=page.get_by_role("button", name=button, exact=True))
    form.get_by_label("Reason").fill(reason)
    form.get_by_role("button", name=button, exact=True).click()


def test_dead_letters_are_looked_at_planned_redriven_and_discarded(visit, backbone, send, tmp_path):
    mendable, hopeless = send({"number": "one"}, {})
    place = f"dead-letters?type={TYPE}"
    page = visit.open(place)
    waited(lambda: visit.open(place).get_by_role("row").filter(has_text="parcel-").count() == 2)
    row = page.get_by_role("row").filter(has_text=mendable)
    expect(row).to_contain_text("expression_error")
    visit.check("dead-letters")

    # What its sender sent is shown to who says why.
    row.get_by_role("link").first.click()
    expect(page.get_by_text('"one"')).to_have_count(0)
    page.get_by_text("Reveal what the sender sent").click()
    confirm(page, "Reveal", "what is its number?")
    expect(page.get_by_label("Value")).to_contain_text('"number": "one"')
    visit.check("dead-letter")

    mended = tmp_path / "parcels.yaml"
    wrong, right = "event.payload.number > 0", "string(event.payload.number) != ''"
    mended.write_text(PARCELS.read_text().replace(wrong, right))
    backbone("apply", "-f", str(mended), "--reason", "numbers in words")

    def planned():
        # The router may not know of it yet.
        visit.open(place)
        for box in page.get_by_role("checkbox").all():
            box.check()
        page.get_by_role("button", name="Plan to redrive").click()
        return page.get_by_role("row").filter(has_text=mendable).filter(has_text="started").count()

    waited(planned)
    expect(page.get_by_role("row").filter(has_text=hopeless)).to_contain_text("refused")
    visit.check("dead-letters-plan")
    confirm(page, "Redrive", "mended")
    expect(page.get_by_role("heading", level=1)).to_have_text("Routed again: 2 dead letters")
    expect(page.get_by_role("row").filter(has_text=mendable)).to_contain_text("started")

    visit.open(place)
    expect(page.get_by_role("row").filter(has_text=mendable)).to_have_count(0)
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Plan to discard").click()
    confirm(page, "Discard", "it has no number")
    expect(page.get_by_role("heading", level=1)).to_have_text("Discarded: 1 dead letter")
    visit.open(f"{place}&state=discarded").get_by_role(
        "link", name=re.compile(r"^\d+:\d+$")
    ).click()
    expect(page.get_by_text("it has no number")).to_be_visible()


def test_a_kill_switch_is_thrown_and_reset_and_what_it_stopped_waits(visit, send):
    page = visit.open("switches")
    page.get_by_text("Throw a kill switch").click()
    page.get_by_role("radio", name="Run:").check()
    page.get_by_label("Labels").fill("tier=parcels")
    confirm(page, "Throw", "parcels are being lost")
    panel = page.locator(".panel").filter(has_text="parcels are being lost")
    expect(panel).to_contain_text("local/alex")
    visit.check("switches")

    waiting = "pending?definition=browser.parcels&reason=halted"

    def stopped():
        # Until the router has looked, it starts what comes.
        send({"number": 2})
        return visit.open(waiting).get_by_role("table").count()

    waited(stopped)
    visit.check("pending")

    visit.open("switches")
    confirm(page, "Reset", "they are found")
    expect(page.get_by_text("None is thrown.")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="they are found")).to_contain_text(
        "tier=parcels"
    )
    waited(lambda: not visit.open(waiting).get_by_role("table").count())


def change(page, what, button, reason):
    """Say why a plan is to be changed, and press the button, as the page offers it."""
    page.locator("summary").filter(has_text=re.compile(f"^{what}$")).click()
    confirm(page, button, reason)
    expect(page.get_by_text(f": {reason}")).to_be_visible()


def in_field(time):
    """Return a time as a browser's field for times takes it."""
    return f"{time:%Y-%m-%dT%H:%M:%S}"


def finished(visit, what, name):
    """Wait until a plan has been carried out; return its page."""
    waited(lambda: visit.open(f"{what}?id={name}").get_by_text("finished", exact=True).count())
    return visit.page


def plan_backfill(visit, since, until, *, at_once, reason):
    """Plan to run the rounds of a time; return the page of the plan, and its id."""
    page = visit.open("backfills")
    page.get_by_text("Plan a backfill").click()
    page.get_by_label("Definition").fill("browser.rounds")
    page.get_by_label("Due times from").fill(in_field(since))
    page.get_by_label("Until before").fill(in_field(until))
    page.get_by_label("Runs open at once").fill(str(at_once))
    confirm(page, "Plan", reason)
    return page, planned(page, "Backfill")


def plan_replay(visit, since, *, rate, reason):
    """Plan to route the parcels since a time again; return the page of the plan, and its id."""
    page = visit.open("replays")
    page.get_by_text("Plan a replay").click()
    page.get_by_label("Topic").fill("dev.orders")
    page.get_by_label("Records from").fill(in_field(since))
    page.get_by_label("Until before").fill(in_field(since + timedelta(minutes=5)))
    page.get_by_label("Definitions").fill("browser.parcels")
    page.get_by_label("Which").select_option("all")
    page.get_by_label("Starts in a second").fill(str(rate))
    confirm(page, "Plan", reason)
    return page, planned(page, "Replay")


def done_of(page):
    """Return how many of a plan were done, and of how many, as its page says."""
    bar = page.get_by_role("progressbar")
    return int(bar.get_attribute("value") or 0), int(bar.get_attribute("max"))


def paused_resumed_and_cancelled(visit, page, what, name):
    """Stop a plan that is carried out, let it go on, and give it up."""
    waited(lambda: done_of(page)[0] > 0)
    change(page, "Pause", "Pause", f"{what}: wait")
    expect(page.get_by_text("paused", exact=True)).to_be_visible()
    visit.check(f"{what}-paused")
    if what == "replay":
        visit.picture("replay-paused")
    expect(page.locator("summary")).to_have_text(["Resume", "Cancel"])
    change(page, "Resume", "Resume", f"{what}: go on")
    expect(page.get_by_text("running", exact=True)).to_be_visible()
    done, _ = done_of(page)
    waited(lambda: done < done_of(page)[0])
    change(page, "Cancel", f"Cancel the {what}", f"{what}: it was wrong")
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
    expect(page.locator("summary")).to_have_count(0)
    done, planned = done_of(page)
    assert done < planned
    visit.open(f"{what}s")
    expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("cancelled")
    visit.open("audit")
    asked = page.get_by_role("region", name=re.compile("^What people asked")).get_by_role("row")
    for how, why in (("pause", "wait"), ("resume", "go on"), ("cancel", "it was wrong")):
        row = asked.filter(has_text=f"{what}: {why}")
        expect(row).to_contain_text(f"{what}/{how}")
        expect(row).to_contain_text("local/alex")


def planned(page, heading):
    """Return the id of what was planned, once its page is there."""
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(rf"^{heading} \w+$"))
    return page.get_by_role("heading", level=1).text_content().split()[-1]


@pytest.fixture(scope="module")
def rounds(backbone):
    """The rounds are known, and when they are due."""
    backbone("apply", "-f", str(DEFINITIONS / "rounds.yaml"), "--reason", "rounds")
    waited(lambda: backbone("schedules", "list", "-o", "json").count("browser.rounds"))


@pytest.mark.usefixtures("rounds")
def test_past_due_times_are_run_by_a_plan(visit):
    page = visit.open("drift")
    expect(page.get_by_text("Temporal has what is applied.")).to_be_visible()
    visit.check("drift")
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0) - timedelta(days=1)

    page, name = plan_backfill(
        visit, noon, noon + timedelta(hours=2), at_once=2, reason="rounds were missed"
    )
    expect(page.get_by_role("row").filter(has_text="no run")).to_have_count(2)
    visit.check("backfill-planned")
    confirm(page, "Apply the plan", "they were looked at")
    page = finished(visit, "backfill", name)
    expect(page.get_by_role("row").filter(has_text="completed")).to_have_count(2)
    expect(page.get_by_text("they were looked at")).to_be_visible()
    visit.open("backfills")
    expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("finished")
    visit.check("backfills")


def test_past_events_are_routed_again_by_a_plan(visit, send):
    since = datetime.now(UTC)
    send({"number": 7})
    page, name = plan_replay(visit, since, rate=20, reason="a bad release")
    expect(page.get_by_role("region", name=re.compile("^In order"))).to_contain_text("parcel-")
    visit.check("replay-planned")
    confirm(page, "Apply the plan", "once more")
    page = finished(visit, "replay", name)
    expect(page.get_by_text("1 event: started")).to_be_visible()
    visit.open("replays")
    expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("finished")


@pytest.mark.usefixtures("rounds")
def test_a_backfill_is_paused_resumed_and_cancelled(visit):
    month = datetime.now(UTC) - timedelta(days=40)
    page, name = plan_backfill(
        visit, month, month + timedelta(days=30), at_once=1, reason="a month was missed"
    )
    confirm(page, "Apply the plan", "slowly")
    paused_resumed_and_cancelled(visit, page, "backfill", name)


def test_a_replay_is_paused_resumed_and_cancelled(visit, send):
    since = datetime.now(UTC)
    send(*({"number": number} for number in range(100, 150)))
    page, name = plan_replay(visit, since, rate=1, reason="fifty parcels too many")
    confirm(page, "Apply the plan", "one a second")
    paused_resumed_and_cancelled(visit, page, "replay", name)


@pytest.mark.usefixtures("send")
def test_a_task_queue_without_a_worker_is_told(visit):
    page = visit.open("task-queues")
    ours = page.get_by_role("row").filter(has_text="backbone-tick-tq")
    expect(ours.get_by_text("served", exact=True)).to_be_visible()
    # Temporal is asked every half a minute; the page goes on by itself.
    row = page.get_by_role("row").filter(has_text="browser-scales-tq")
    expect(row.get_by_text("unserved", exact=True)).to_be_visible(timeout=75_000)
    expect(row.get_by_role("link")).to_have_text(["browser.scales"])
    expect(page.get_by_text("work waits that no worker takes")).to_contain_text("browser-scales-tq")
    visit.check("task-queues")
    visit.picture("task-queues")
    visit.open("overview")
    page.get_by_role("region", name="Task queues").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Task queues")


def test_the_audit_tells_who_and_why_and_that_events_are_as_they_were_written(visit, send):
    page = visit.open("audit")
    done = page.get_by_role("region", name=re.compile("^What people asked"))
    for what, why in (("ThrowKillSwitch", "are being lost"), ("backfill/apply", "looked at")):
        row = done.get_by_role("row").filter(has_text=what).filter(has_text=why)
        expect(row).to_contain_text("local/alex")
    changed = page.get_by_role("region", name=re.compile("^Changes"))
    expect(changed.get_by_role("row").filter(has_text="browser.parcels").last).to_contain_text(
        "parcels"
    )
    for service in ("ledger", "registry"):
        page.get_by_role("button", name=f"Verify the {service}").click()
        expect(page.get_by_role("status")).to_contain_text("as it was written")
        expect(page.get_by_role("status")).to_contain_text(service.capitalize())
    visit.check("audit")
