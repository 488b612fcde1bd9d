"""Scrapes metrics as a Prometheus would, each second."""

import threading
import urllib.request
from collections.abc import Sequence
from typing import Self

_EVERY_S = 1.0


class Scraper:
    """Reads pages of metrics from `with` to its end; one that cannot be read ends it with that."""

    def __init__(self, pages: Sequence[str]) -> None:
        self._pages = pages
        self._ended = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._scrape, name="scraper", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _scrape(self) -> None:
        try:
            while not self._ended.wait(_EVERY_S):
                for page in self._pages:
                    with urllib.request.urlopen(page, timeout=5) as answer:  # noqa: S310 - local
                        answer.read()
        except OSError as exc:
            self._failure = exc
