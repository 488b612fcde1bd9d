"""What became of an event, found by any id and followed by links, as an operator does it."""

import re
import uuid

import pytest
from playwright.sync_api import expect
from shop import Shop


@pytest.fixture(scope="module")
def shop(suite, backbone):
    shop = Shop(suite, backbone)
    shop.open()
    return shop


@pytest.fixture(scope="module")
def order(shop):
    """An order that a person is to look at: the event's id, its run and the task of this."""
    event_id = shop.place(200)
    run_id = shop.run_of(event_id)
    return event_id, run_id, shop.task_of(run_id)


def graph(page):
    return page.get_by_role("list", name="What led to what")


def test_each_id_leads_to_its_page(visit, order):
    event_id, run_id, task_id = order
    visit.open("overview")
    expect(visit.find(event_id).get_by_role("heading", level=1)).to_have_text(f"Event {event_id}")
    expect(visit.find(run_id).get_by_role("heading", level=1)).to_have_text(f"Run {run_id}")
    expect(visit.find(task_id).get_by_role("heading", level=1)).to_have_text(
        "Look at the order over 200"
    )


def test_a_subject_and_a_chain_lead_to_their_runs(visit, shop):
    chain = f"chain-{uuid.uuid4().hex[:8]}"
    first, second = (shop.run_of(shop.place(150, correlation_id=chain)) for _ in "12")
    visit.open("overview")
    for words, title in ((chain, "chain of causes"), (f"customer/{shop.source}", "this subject")):
        page = visit.find(words)
        table = page.get_by_role("region", name=re.compile(title))
        expect(table.get_by_role("link", name=first)).to_be_visible()
        expect(table.get_by_role("link", name=second)).to_be_visible()
    visit.check("search")


def test_an_event_tells_what_it_caused_and_what_not_and_why(visit, suite, order):
    event_id, run_id, task_id = order
    page = visit.open(f"event?id={event_id}")
    expect(graph(page).get_by_role("link", name=event_id)).to_be_visible()
    run = graph(page).get_by_role("link", name=run_id, exact=True)
    expect(run).to_be_visible()
    expect(graph(page).get_by_role("link", name="in Temporal").first).to_have_attribute(
        "href", re.compile(f"^{re.escape(suite.endpoints.temporal_ui_url)}/namespaces/dev/")
    )
    filtered = page.get_by_role("row").filter(has_text="shop.praise-large-orders")
    expect(filtered).to_contain_text("filtered")
    expect(filtered).to_contain_text("event.payload.amount > 1000")
    expect(page.get_by_role("row").filter(has_text="shop.orders-of-the-hall")).to_have_count(0)
    visit.check("event")

    page.get_by_label("Definition").fill("shop.orders-of-the-hall")
    page.get_by_role("button", name="Say why it did not run").click()
    why = page.locator("#others")
    expect(why).to_contain_text("hall")
    expect(why).to_contain_text('wanted payload.room: ["hall"], saw absent')
    visit.check("event-why")

    run.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Run {run_id}")
    expect(
        page.get_by_role("row").filter(has_text="event.payload.amount > 100").first
    ).to_contain_text("true")
    visit.check("run")
    visit.picture("run", since="What it decided")
    graph(page).get_by_role("link", name="Look at the order over 200").click()
    expect(page.locator("dl")).to_contain_text("group sellers")
    expect(page.locator("dl")).to_contain_text(task_id)
    visit.check("task")


@pytest.mark.timeout(400)
def test_the_graph_goes_on_through_a_persons_answer_to_what_followed(visit, shop):
    event_id = shop.place(300)
    task_id = shop.task_of(shop.run_of(event_id))
    shop.backbone("tasks", "complete", task_id, "--answer", '{"fine": true}', "--reason", "seen")
    page = visit.open(f"event?id={event_id}")
    packed = graph(page).get_by_role("link", name=re.compile("^shop.send-orders:"))
    for _ in range(60):
        if packed.count():
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(packed).to_be_visible()
    expect(graph(page)).to_contain_text("backbone.TaskCompleted")
    expect(graph(page).get_by_role("link", name="pack", exact=True)).to_be_visible()
    visit.check("graph")
    visit.picture("event")


def test_an_event_that_nobody_wanted_is_looked_for_in_kafka(visit, shop, suite):
    visit.open("overview")
    page = visit.find(f"nobody-{uuid.uuid4().hex}")
    expect(page.get_by_text("Nothing in the ledger has this id")).to_be_visible()
    page.get_by_role("link", name="look for it there").click()
    page.get_by_role("button", name="Say why it did not run").click()
    expect(page.locator("#others")).to_contain_text("The event is nowhere", timeout=30_000)
    visit.check("event-nowhere")


def test_what_is_not_there_is_said_in_a_sentence(visit):
    page = visit.open("run?id=no.such:run")
    expect(page.get_by_role("alert")).to_contain_text("no.such:run")
    visit.check("not-found")
    visit.open("runs?status=torn")
    expect(page.get_by_role("alert")).to_contain_text("There is no status torn")
    visit.expect_complaints()


def test_lists_are_filtered_and_lead_on(visit, order):
    _, run_id, _ = order
    page = visit.open("runs")
    page.get_by_label("Status").select_option("waiting")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("link", name=run_id, exact=True)).to_be_visible()
    visit.check("runs")
    page = visit.open("tasks?type=human&status=open")
    expect(page.get_by_role("link", name="Look at the order over 200").first).to_be_visible()
    visit.check("tasks")


def test_what_strangers_write_is_shown_and_never_carried_out(visit, shop):
    subject = '"><img src=x onerror=alert(1)><script>alert(2)</script>{{ 7 * 7 }}'
    run_id = shop.run_of(shop.place(170, subject=subject))
    page = visit.open("overview")
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    visit.find(subject)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Search: {subject}")
    expect(page.get_by_role("link", name=run_id, exact=True)).to_be_visible()
    assert page.locator("main img, main script").count() == 0
