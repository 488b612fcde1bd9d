"""The `backbone` command on a suite."""

import subprocess
import sys
from collections.abc import Callable

from devstack.suite import Suite


def on(suite: Suite, **variables: str) -> Callable[..., str]:
    """Return the command, with further environment variables.

    It returns what it prints, and fails the test when it fails.
    """

    def call(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *words],
            env={**suite.client_environment(), **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"backbone {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout

    return call
