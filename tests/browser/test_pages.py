"""What holds on every page: where one is, how one gets on by keyboard, what a browser is told."""

import re
import urllib.error
import urllib.request

import pytest
from playwright.sync_api import expect


def test_the_first_page_is_the_overview_and_says_where_one_is(visit):
    page = visit.open("")
    expect(page).to_have_title(re.compile("no such page|Not Found", re.IGNORECASE))
    visit.expect_complaints()
    page.goto(visit.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(page.get_by_role("navigation", name="Areas").get_by_text("Overview")).to_have_attribute(
        "aria-current", "page"
    )
    expect(page.get_by_text("alex")).to_be_visible()


def test_the_first_key_leads_past_the_navigation(visit):
    page = visit.open("overview")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


@pytest.mark.parametrize(
    "path", ["/dev/overview", "/dev/nowhere", "/nowhere/overview", "/static/console.css"]
)
def test_every_page_and_refusal_tells_browsers_to_be_strict(suite, path):
    headers = told(suite, path).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "server" not in headers


def told(suite, path):
    try:
        with urllib.request.urlopen(suite.console_url + path) as answer:  # noqa: S310 - ours
            return answer
    except urllib.error.HTTPError as refused:
        with refused:
            return refused
