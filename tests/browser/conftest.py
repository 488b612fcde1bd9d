"""The console in a real browser, on the whole suite: a `visit` is a person in front of a page.

SCREENSHOTS=docs/images/console has the tests write pictures for the documents.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import backbone_command
import pytest
from backbone_command import Backbone
from console_visit import Visit
from playwright.sync_api import Browser, sync_playwright

from devstack import tools
from devstack.infrastructure import SHORT_LIVED
from devstack.suite import Extra, Suite

HANDLERS = Path(__file__).parents[1] / "chaos" / "packing_worker.py"
# A machine without a graphics card, a user namespace, or leave to phone home.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


# One of its own: that of tests/ serves the tests of other folders, and ends with them.
@pytest.fixture(scope="package")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """Every service, a handler worker, and servers of their own."""
    suite = Suite(
        tmp_path_factory.mktemp("browser"),
        # What tasks tell as well: an answer starts what follows.
        topics=("dev.orders", "dev.backbone.task-events"),
        task_queues=("e2e-tq",),
        extra=[Extra(name="handlers", argv=(sys.executable, str(HANDLERS)))],
        env={"console": {"BACKBONE_CONSOLE_ACTOR": "alex"}},
        durable=False,
        server_env=SHORT_LIVED,
    )
    try:
        yield suite.start()
    finally:
        suite.stop()


@pytest.fixture(scope="package")
def backbone(suite: Suite) -> Backbone:
    """The `backbone` command on the suite."""
    return backbone_command.on(suite)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, the machine's or one from the cache."""
    chromium = tools.find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.program, args=FLAGS, env={**os.environ, **chromium.env}
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(suite: Suite, browser: Browser) -> Iterator[Visit]:
    """Somebody who has the console open; see tests/support/console_visit.py."""
    folder = os.environ.get("SCREENSHOTS")
    visit = Visit(browser, suite.console_url, pictures=Path(folder) if folder else None)
    yield visit
    visit.close()
