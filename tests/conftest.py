"""The whole suite on real servers, for tests/e2e and tests/chaos: it ends with the last of them.

See `end_suites` in tests/support/sharing.py.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import backbone_command
import crashpoints
import pytest
from backbone_command import Backbone

from devstack import ports, signing_keys
from devstack.infrastructure import SHORT_LIVED
from devstack.signing_keys import SigningKeys
from devstack.suite import Extra, Suite

HANDLERS = Path(__file__).parent / "chaos" / "packing_worker.py"


def pytest_report_header() -> str:
    """Say where it crashes today: a worker has no screen."""
    return f"crash points: {', '.join(point.name for point in crashpoints.to_crash_at())}"


@pytest.fixture(scope="package")
def keys(tmp_path_factory: pytest.TempPathFactory) -> SigningKeys:
    """The keys with which the suite's services sign."""
    return signing_keys.bring(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="package")
def suite(tmp_path_factory: pytest.TempPathFactory, keys: SigningKeys) -> Iterator[Suite]:
    """Every service, a handler worker, and servers of their own; what is emitted is signed."""
    listen = f"127.0.0.1:{ports.unused()}"
    suite = Suite(
        tmp_path_factory.mktemp("suite"),
        topics=("dev.orders",),
        task_queues=("e2e-tq",),
        extra=[
            Extra(
                name="handlers",
                argv=(sys.executable, str(HANDLERS)),
                env={"BACKBONE_HTTP_LISTEN": listen},
                health=f"http://{listen}/readyz",
            )
        ],
        env={**keys.env},
        durable=False,
        server_env=SHORT_LIVED,
    )
    try:
        yield suite.start()
    finally:
        suite.stop()


@pytest.fixture(scope="package")
def backbone(suite: Suite) -> Backbone:
    """The `backbone` command on the suite: returns what it prints, fails when it fails."""
    return backbone_command.on(suite)
