"""A person at the console of the secure stack, in a real browser: signed in by redirect, and out.

What the pages of the inbox and of operations do there is the person's own doing, by the token that
the issuer gave, or is refused as that.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import console_visit
import pytest
from backbone_command import Backbone
from console_visit import Visit
from playwright.sync_api import Browser, Page, expect
from shop import waited

from contracts.roles import Role
from devstack.issuer import Person
from devstack.suite import Suite

VISITS = Path(__file__).parents[1] / "browser" / "inbox" / "visits.yaml"
KIM = Person("kim", [Role.ASSIGNEE, Role.OPERATOR, Role.VIEWER], ["dev"], ["visitors"])
LEE = Person("lee", [Role.VIEWER], ["dev"])

AtIssuer = Callable[[Page, str], None]


# While Playwright runs, its event loop does: no longer than for this file, whose neighbours have
# loops of their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with console_visit.chromium() as browser:
        yield browser


@pytest.fixture
def visit(suite: Suite, browser: Browser) -> Iterator[Visit]:
    visit = Visit(browser, suite.console_url, pictures=console_visit.pictures(), trusting=True)
    yield visit
    visit.close()


@pytest.fixture
def sign_in(suite: Suite) -> AtIssuer:
    """Be somebody, at the issuer's page where the browser is."""
    suite.issuer.admit([KIM, LEE])

    def sign_in(page: Page, name: str) -> None:
        expect(page.get_by_role("heading", level=1)).to_have_text("Issuer of a local stack")
        page.get_by_label("Person").select_option(name)
        page.get_by_label("Password").fill(suite.issuer.password())
        page.get_by_role("button", name="Sign in").click()

    return sign_in


@pytest.fixture(scope="module")
def task(backbone: Backbone) -> str:
    """A human task for a group: its title."""
    backbone("-n", "dev", "apply", "-f", str(VISITS), "--reason", "visits")
    started = backbone(
        *("-n", "dev", "trigger", "browser.visits", "--input", '{"customer": "by redirect"}'),
        *("--reason", "a test", "-o", "json"),
    )
    run_id = json.loads(started)["run_id"]
    waited(lambda: backbone("-n", "dev", "tasks", "list", "--run", run_id, "-o", "json"))
    return "Visit by redirect"


def throw(page: Page, labels: str, reason: str) -> None:
    page.get_by_text("Throw a kill switch").click()
    page.get_by_role("radio", name="Run:").check()
    page.get_by_label("Labels").fill(labels)
    confirm(page, "Throw", reason)


def confirm(page: Page, action: str, reason: str) -> None:
    panel = page.locator("form:visible").filter(has=page.get_by_role("button", name=action))
    panel.get_by_label("Reason").fill(reason)
    panel.get_by_role("button", name=action).click()


def test_a_person_signs_in_does_their_work_as_themselves_and_signs_out(
    visit: Visit, sign_in: AtIssuer, task: str
) -> None:
    page = visit.open("inbox?group=visitors")
    sign_in(page, "kim")
    page.wait_for_url("**/dev/inbox?group=visitors")
    expect(page.get_by_text("kim", exact=True)).to_be_visible()
    page.get_by_role("link", name=task).first.click()
    page.get_by_role("button", name="Claim").click()
    expect(page.get_by_role("row").filter(has_text="claimed")).to_contain_text("oidc:kim")
    page.get_by_role("radio", name="Yes").check()
    page.get_by_label("Amount").fill("5")
    page.get_by_role("textbox", name="Name", exact=True).fill("Generated")
    page.get_by_role("button", name="Complete").click()
    expect(page.get_by_role("row").filter(has_text="completed")).to_contain_text("oidc:kim")

    visit.open("switches")
    throw(page, "tier=nobody-has-this", "tried on the secure stack")
    panel = page.locator(".panel").filter(has_text="tried on the secure stack")
    expect(panel).to_contain_text("oidc:kim")
    confirm(page, "Reset", "it was tried")
    expect(page.get_by_text("None is thrown.")).to_be_visible()

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Signed out")
    visit.check("signed-out")
    names = {one["name"] for one in page.context.cookies()}
    assert not names & {"__Host-backbone_token", "__Host-backbone_refresh"}
    # Signed out at the issuer as well: it asks who one is.
    page.get_by_role("link", name="Sign in").click()
    expect(page.get_by_label("Password")).to_be_visible()


def test_who_lacks_the_role_sees_what_it_may_and_is_told_what_it_may_not(
    visit: Visit, sign_in: AtIssuer
) -> None:
    page = visit.open("switches")
    sign_in(page, "lee")
    page.wait_for_url("**/dev/switches")
    expect(page.get_by_text("None is thrown.")).to_be_visible()
    throw(page, "tier=nobody-has-this", "tried by a viewer")
    expect(page.get_by_role("alert")).to_contain_text("You may not do that")
    visit.check("refused-by-role")
    visit.expect_complaints()
    visit.open("switches")
    expect(page.get_by_text("None is thrown.")).to_be_visible()


def test_who_cancels_at_the_issuer_is_told_and_can_try_again(
    visit: Visit, sign_in: AtIssuer
) -> None:
    page = visit.open("runs")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("did not sign you in (access_denied)")
    visit.check("sign-in-refused")
    visit.expect_complaints()
    page.get_by_role("link", name="Sign in").click()
    sign_in(page, "lee")
    page.wait_for_url(re.compile("/dev/runs$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")


def test_a_link_from_elsewhere_leads_a_signed_in_person_to_its_page(
    visit: Visit, sign_in: AtIssuer
) -> None:
    page = visit.open("runs")
    sign_in(page, "lee")
    page.wait_for_url("**/dev/runs")
    # Cookies of the session are sent along from no other site: the issuer says again who it is.
    page.set_content(f'<a href="{visit.url}/dev/switches">a link</a>')
    page.get_by_role("link").click()
    page.wait_for_url("**/dev/switches")
    expect(page.get_by_text("lee", exact=True)).to_be_visible()
