"""How the workers of a session share its tests: by files, those that take longest first.

A worker is a session of its own: it has its own servers, ports and folders, and what one does
reaches no other. A file stays in one worker, since its tests may share what they stand on. Who
ends with small files waits little for the others.
"""

from pathlib import PurePosixPath

from xdist.scheduler.loadscope import LoadScopeScheduling

ORDER = (
    "tests/e2e/test_first_run.py",  # each of its tests sends for a minute
    "tests/chaos/test_crashpoints.py",
    "tests/e2e",
    "tests/chaos",
    "services/registry/tests/integration/test_replicas.py",
    "tests/secure",
    "tests/browser",
    "examples",
    "tools/devstack",
    "integration",
)
"""Files and folders, those that take longest first; what is not among them comes last."""


def rank(nodeid: str) -> int:
    """Return how late a test's file is given to a worker; 0 is the first."""
    path = PurePosixPath(nodeid.partition("::")[0])
    found = (
        number
        for number, name in enumerate(ORDER)
        if path.is_relative_to(name) or name in path.parts
    )
    return next(found, len(ORDER))


class Files(LoadScopeScheduling):
    """Gives each worker the next file once it comes to the end of what it has."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0]
