"""What ran, what waits, what failed and what is late, at a glance and without a reload."""

from playwright.sync_api import expect
from shop import Shop


def test_the_overview_counts_and_goes_on_counting_by_itself(visit, suite, backbone):
    shop = Shop(suite, backbone)
    shop.open()
    shop.run_of(shop.place(200))
    page = visit.open("overview")
    waits = page.get_by_role("region", name="What waits")
    people = waits.get_by_role("listitem").filter(has_text="people's tasks").locator(".figure")
    before = int(people.inner_text())
    assert before > 0
    expect(page.get_by_role("region", name="Dead letters")).to_contain_text("open")
    visit.check("overview")
    visit.picture("overview")

    shop.run_of(shop.place(400))
    expect(people).to_have_text(str(before + 1))
    page.get_by_role("region", name="What ran").get_by_role("link", name="waiting").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")


def test_a_ledger_that_is_away_is_said_and_comes_back_by_itself(visit, suite):
    page = visit.open("overview")
    figures = page.get_by_role("region", name="What ran")
    expect(figures).to_be_visible()
    suite.stop("ledger")
    try:
        told = page.locator("#figures").get_by_role("alert")
        expect(told).to_contain_text("The ledger cannot be reached now")
        visit.check("unavailable")
    finally:
        suite.start_process("ledger")
        suite.wait_ready("ledger")
    expect(figures).to_be_visible()
    visit.expect_complaints()
