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
    for file in (DEFINITIONS / "parcel-sent.yaml", PARCELS):
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
        # The router may not know of the definition yet.
        send({"number": 1})
        return backbone("decisions", "--definition", "browser.parcels", "-o", "json")

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


def in_field(time):
    """Return a time as a browser's field for times takes it."""
    return f"{time:%Y-%m-%dT%H:%M:%S}"


def finished(visit, what, name):
    """Wait until a plan has been carried out; return its page."""
    waited(lambda: visit.open(f"{what}?id={name}").get_by_text("finished", exact=True).count())
    return visit.page


def planned(page, heading):
    """Return the id of what was planned, once its page is there."""
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(rf"^{heading} \w+$"))
    return page.get_by_role("heading", level=1).text_content().split()[-1]


def test_past_due_times_are_run_by_a_plan(visit, backbone):
    backbone("apply", "-f", str(DEFINITIONS / "rounds.yaml"), "--reason", "rounds")
    waited(lambda: backbone("schedules", "list", "-o", "json").count("browser.rounds"))
    page = visit.open("drift")
    expect(page.get_by_text("Temporal has what is applied.")).to_be_visible()
    visit.check("drift")
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0) - timedelta(days=1)

    page = visit.open("backfills")
    page.get_by_text("Plan a backfill").click()
    page.get_by_label("Definition").fill("browser.rounds")
    page.get_by_label("Due times from").fill(in_field(noon))
    page.get_by_label("Until before").fill(in_field(noon + timedelta(hours=2)))
    page.get_by_label("Runs open at once").fill("2")
    confirm(page, "Plan", "rounds were missed")
    name = planned(page, "Backfill")
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
    page = visit.open("replays")
    page.get_by_text("Plan a replay").click()
    page.get_by_label("Topic").fill("dev.orders")
    page.get_by_label("Records from").fill(in_field(since))
    page.get_by_label("Until before").fill(in_field(since + timedelta(minutes=5)))
    page.get_by_label("Definitions").fill("browser.parcels")
    page.get_by_label("Which").select_option("all")
    confirm(page, "Plan", "a bad release")
    name = planned(page, "Replay")
    expect(page.get_by_role("region", name=re.compile("^In order"))).to_contain_text("parcel-")
    visit.check("replay-planned")
    confirm(page, "Apply the plan", "once more")
    page = finished(visit, "replay", name)
    expect(page.get_by_text("1 event: started")).to_be_visible()
    visit.open("replays")
    expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("finished")


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
