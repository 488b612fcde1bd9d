"""The console in a real browser, on the whole suite: a `visit` is a person in front of a page.

SCREENSHOTS=docs/images/console has the tests write pictures for the documents.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import backbone_command
import console_visit
import pytest
from backbone_command import Backbone
from console_visit import Visit
from playwright.sync_api import Browser

from devstack.infrastructure import SHORT_LIVED
from devstack.suite import Extra, Suite

HANDLERS = Path(__file__).parents[1] / "chaos" / "packing_worker.py"


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
    """Chromium."""
    with console_visit.chromium() as browser:
        yield browser


@pytest.fixture
def visit(suite: Suite, browser: Browser) -> Iterator[Visit]:
    """Somebody who has the console open; see tests/support/console_visit.py."""
    visit = Visit(browser, suite.console_url, pictures=console_visit.pictures())
    yield visit
    visit.close()
