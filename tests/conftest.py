"""The whole suite on real servers, once for the session: for tests/e2e and tests/chaos."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devstack.suite import Extra, Suite

HANDLERS = Path(__file__).parent / "chaos" / "packing_worker.py"


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """Every service, a handler worker, and servers of their own."""
    suite = Suite(
        tmp_path_factory.mktemp("suite"),
        topics=("dev.orders",),
        task_queues=("e2e-tq",),
        extra=[Extra(name="handlers", argv=(sys.executable, str(HANDLERS)))],
    )
    try:
        yield suite.start()
    finally:
        suite.stop()


@pytest.fixture(scope="session")
def backbone(suite: Suite) -> Callable[..., str]:
    """The `backbone` command on the suite: returns what it prints, fails when it fails."""

    def call(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *words],
            env=suite.client_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"backbone {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout

    return call
