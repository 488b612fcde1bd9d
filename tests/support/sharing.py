"""How the workers of a session share its tests: by files, those that take longest first.

A worker is a session of its own: it has its own servers, ports and folders, and what one does
reaches no other. A file stays in one worker, since its tests may share what they stand on, and so
does a folder whose files stand on a stack of their own. Who ends with small files waits little for
the others.

A stack that is idle takes a fifth of a processor from the tests that come after: files that stand
on the same one follow each other, and it ends with the last of them.
"""

from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

ORDER = (
    # On the suite of tests/conftest.py.
    "tests/e2e/test_first_run.py",  # each of its tests sends for a minute
    "tests/chaos/test_crashpoints.py",
    "tests/e2e",
    "tests/chaos",
    # On stacks of their own.
    "tests/secure",
    "tests/browser",
    "tests/chaos/test_smoke.py",
    "tests/tutorial",
    "tests/howto",
    "examples",
    "tools/devstack",
    # On the servers of the session.
    "services/registry/tests/integration/test_replicas.py",
    "integration",
    # On nothing.
    "tests/chaos/test_checker.py",
    "tests/chaos/test_faults.py",
    "tests/chaos/test_proxies.py",
    "tests/chaos/test_visits.py",
)
"""Files and folders in the order in which workers take them; what is not among them comes last."""

WHOLE = ("tests/secure", "tests/browser")
"""Folders that one worker takes: their files stand on one stack of their own."""


def rank(nodeid: str) -> int:
    """Return how late a test's file is given to a worker, by what names it most exactly."""
    path = PurePosixPath(nodeid.partition("::")[0])
    found = [
        (len(PurePosixPath(name).parts), number)
        for number, name in enumerate(ORDER)
        if path.is_relative_to(name) or name in path.parts
    ]
    return max(found)[1] if found else len(ORDER)


class Files(LoadScopeScheduling):
    """Gives each worker the next file, or folder, once it comes to the end of what it has."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((one for one in WHOLE if PurePosixPath(file).is_relative_to(one)), file)


def end_suites(item: pytest.Item, following: pytest.Item | None) -> None:
    """End the suite that a test stood on, when nothing in the file that follows does.

    pytest would keep what belongs to a package until a test outside of its folder comes.
    """
    if following is None or following.path == item.path:
        return
    files = {item.path: set(), following.path: set()}
    for one in item.session.items:
        if one.path in files and (suite := _suite_of(one)) is not None:
            files[one.path].add(suite)
    for suite in files[item.path] - files[following.path]:
        suite.finish(item._request)  # type: ignore[attr-defined]


def _suite_of(item: pytest.Item) -> Any:
    """Return the definition of the fixture `suite` that a test stands on, None without one."""
    if "suite" not in getattr(item, "fixturenames", ()):
        return None
    return item._fixtureinfo.name2fixturedefs["suite"][-1]  # type: ignore[attr-defined]
