"""Somebody in front of the console, in a real browser."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from devstack import tools

PATIENCE_MS = 15_000
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1200, "height": 800}
PICTURE = {"width": 960, "height": 640}
_AXE = Axe()
expect.set_options(timeout=PATIENCE_MS)


# A machine without a graphics card, a user namespace, or leave to phone home.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium, the machine's or one from the cache; its event loop lasts as long."""
    found = tools.find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found.program, args=FLAGS, env={**os.environ, **found.env}
        )
        yield browser
        browser.close()


def pictures() -> Path | None:
    """Return where pictures of pages are wanted (SCREENSHOTS), None for nowhere."""
    folder = os.environ.get("SCREENSHOTS")
    return Path(folder) if folder else None


class Visit:
    """A browser's window, light or dark, wide or as narrow as a phone.

    What a page's scripts complain of, and what its policy has stopped, fails the test at `close`.
    """

    def __init__(
        self, browser: Browser, url: str, *, pictures: Path | None, trusting: bool = False
    ) -> None:
        """`url` is the console's; `pictures` the folder for screenshots, None for none.

        With `trusting` it takes every certificate: that of a stack of its own among them.
        """
        self.url, self._pictures = url, pictures
        self._context = browser.new_context(viewport=DESK, ignore_https_errors=trusting)
        self._complaints: list[str] = []
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._complained)
        self.page.on("pageerror", lambda error: self._complaints.append(str(error)))

    def open(self, path: str, *, namespace: str = "dev") -> Page:
        """Open a page of a namespace (`task?id=…`), and return it once it is there."""
        self.page.goto(f"{self.url}/{namespace}/{path}")
        return self.page

    def find(self, words: str) -> Page:
        """Search for an id by the box at the top, as it is on every page."""
        self.page.get_by_role("searchbox").fill(words)
        self.page.get_by_role("searchbox").press("Enter")
        self.page.wait_for_load_state()
        return self.page

    def check(self, name: str) -> None:
        """Hold the page that is open against what everybody must be able to use.

        In light and dark it has no violation of axe's rules, and on a phone nothing lies beyond the
        edge.
        """
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            found = _AXE.run(self.page)
            told = [
                (one["id"], [node["html"] for node in one["nodes"]])
                for one in found.response["violations"]
            ]
            assert not told, f"{name}, {scheme}: {json.dumps(told, indent=2)}"
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size(PHONE)
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= PHONE["width"], f"{name}: {wide} px wide on a phone"
        self.page.set_viewport_size(DESK)

    def picture(self, name: str, *, since: str = "") -> None:
        """Write a picture for the documents, light, when pictures are wanted.

        It is of the page's top, or from the heading `since` on.
        """
        if self._pictures is None:
            return
        self._pictures.mkdir(parents=True, exist_ok=True)
        self.page.set_viewport_size(PICTURE)
        self.page.evaluate("scrollTo(0, 0)")
        if since:
            heading = self.page.get_by_role("heading", name=since, exact=True)
            heading.evaluate("one => one.scrollIntoView()")
        self.page.screenshot(path=self._pictures / f"{name}.png", animations="disabled")
        self.page.set_viewport_size(DESK)

    def close(self) -> None:
        """Close the window; fail when a page has complained."""
        self._context.close()
        assert not self._complaints, self._complaints

    def expect_complaints(self) -> None:
        """Take what pages have complained of until now as expected: a refusal is one."""
        self._complaints.clear()

    def _complained(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._complaints.append(message.text)
