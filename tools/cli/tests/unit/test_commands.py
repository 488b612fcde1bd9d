"""The commands are found by name, and only what is asked for is imported."""

import subprocess
import sys

import pytest

from cli import commands


@pytest.mark.parametrize("name", commands.NAMED)
def test_each_command_is_loaded_and_says_what_it_does(name):
    assert commands.load(name).help


def test_a_command_does_not_wait_for_the_others():
    found = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys\nfrom cli.__main__ import app\n"
            "try:\n    app(['run', 'show', '--help'])\n"
            "except SystemExit:\n    print(*sorted(sys.modules), file=sys.stderr)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stderr.split()
    assert "cli.runs" in found
    assert not {"cli.contract", "cli.applying", "cli.certs", "cli.simulating"} & set(found)
