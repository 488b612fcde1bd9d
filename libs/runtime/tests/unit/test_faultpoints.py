"""A fault point kills the process at the hit that was asked for, and never otherwise."""

import os
import signal
import subprocess
import sys

import pytest

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


@pytest.mark.parametrize(
    ("armed", "printed"),
    [
        ("router.after_start", ""),
        ("router.after_start:1", ""),
        ("router.after_start:2", "0\n"),
        ("router.before_start:3", "0\n1\n"),
    ],
)
def test_the_process_dies_at_the_named_hit(armed, printed):
    for _ in range(2):  # In each of its lives.
        done = run(BACKBONE_FAULTPOINT=armed)
        assert done.returncode == -signal.SIGKILL
        assert done.stdout == printed


def test_another_point_or_too_few_hits_let_it_live():
    for armed in ("router.after", "router.after_start:4"):
        assert run(BACKBONE_FAULTPOINT=armed).stdout == "0\n1\n2\n"


def test_with_a_marker_it_dies_once_and_the_marker_says_that_it_did(tmp_path):
    marker = tmp_path / "a:b"
    armed = f"router.after_start:2:{marker}"
    assert run(BACKBONE_FAULTPOINT=f"router.after_start:4:{marker}").returncode == 0
    assert not marker.exists()
    dead = run(BACKBONE_FAULTPOINT=armed)
    assert (dead.returncode, dead.stdout) == (-signal.SIGKILL, "0\n")
    assert int(marker.read_text()) > 0
    again = run(BACKBONE_FAULTPOINT=armed)
    assert (again.returncode, again.stdout) == (0, "0\n1\n2\n")
