"""The whole suite with certificates everywhere, once for the tests of this folder."""

import sys
from collections.abc import Iterator
from pathlib import Path

import backbone_command
import pytest
from backbone_command import Backbone

from devstack.infrastructure import SHORT_LIVED, Endpoints
from devstack.infrastructure.certificates import StackCertificates
from devstack.suite import Extra, Suite
from runtime.authority import Request
from runtime.tls import TlsFiles

QUOTING = Path(__file__).with_name("quoting_worker.py")
HANDLERS = Path(__file__).parents[1] / "chaos" / "packing_worker.py"


@pytest.fixture(scope="package")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """Every service, a handler worker, and servers of their own, none of it in the clear.

    It serves two tenants, who have nothing to do with one another: see test_tenants.py.
    """
    suite = Suite(
        tmp_path_factory.mktemp("secure"),
        namespaces=("dev", "rival"),
        topics=("dev.orders", "rival.orders"),
        task_queues=("e2e-tq",),
        extra=[
            Extra(name="handlers", argv=(sys.executable, str(HANDLERS))),
            Extra(name="quoting", argv=(sys.executable, str(QUOTING))),
        ],
        secure=True,
        provider="local",
        durable=False,
        server_env=SHORT_LIVED,
    )
    try:
        yield suite.start()
    finally:
        suite.stop()


# One of its own: that of tests/ may have been made for the other suite by then.
@pytest.fixture(scope="package")
def backbone(suite: Suite) -> Backbone:
    """The `backbone` command on the suite, as its developer."""
    return backbone_command.on(suite)


@pytest.fixture
def endpoints(suite: Suite) -> Endpoints:
    """Its servers."""
    return suite.endpoints


@pytest.fixture(scope="package")
def certified(suite: Suite) -> StackCertificates:
    """The certificates of the suite."""
    found = suite.endpoints.certificates
    assert found is not None
    return found


@pytest.fixture(scope="package")
def forged(certified: StackCertificates, tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """The ledger's names by an authority that nobody here trusts; it trusts the suite's."""
    theirs = StackCertificates(tmp_path_factory.mktemp("theirs"), namespaces=("dev",))
    theirs.bring()
    files = theirs.files("ledger")
    return TlsFiles(files.certificate, files.private_key, certified.authority)


@pytest.fixture(scope="package")
def stranger(certified: StackCertificates) -> TlsFiles:
    """Somebody whom the suite's authority knows, and who is granted nothing."""
    issued = certified.issue(Request(name="stranger"))
    return TlsFiles(issued.certificate, issued.private_key, certified.authority)
