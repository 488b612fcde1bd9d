"""A fault point kills the process at the hit that was asked for, and never otherwise."""

import os
import signal
import subprocess
import sys

CODE = """
from runtime.faultpoints import faultpoint
for hit in range(3):
    faultpoint("router.before_start")
    faultpoint("router.after_start")
    print(hit, flush=True)
"""


def run(**environment):
    return subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_the_variable_nothing_happens():
    assert run().stdout == "0\n1\n2\n"


def test_the_process_dies_at_the_named_hit():
    done = run(BACKBONE_FAULTPOINT="router.after_start:2")
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == "0\n"
