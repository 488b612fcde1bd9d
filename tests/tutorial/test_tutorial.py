"""The tutorial as a reader follows it: each command typed, each file written, each output compared.

It has a stack of its own, by `devstack`, in a folder that is to it what the clone is to a reader.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pages
import pytest
from shown import Shown

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "tutorial"
PATIENCE = 120.0  # seconds
LIMIT = 300.0  # seconds for one command
# A question is asked again until the answer is the page's: events and tasks take their time.
QUESTION = re.compile(
    r"backbone (?:decisions|runs|run show|ticks|inbox|history|tasks (?:show|history)|replay show)\b"
)
MAKE = """\
#!/bin/sh
# What the targets of the Makefile do, for the stack of this folder.
case "$1" in
up|down) exec "{devstack}" "$1" --state "{folder}/.backbone" ;;
*) echo "make $1 means nothing here" >&2; exit 2 ;;
esac
"""


class Reader:
    """Somebody at a terminal in the root of the clone, and at a second one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shown = Shown()
        self._elsewhere: list[subprocess.Popen[bytes]] = []
        programs = folder / "programs"
        programs.mkdir()
        make = programs / "make"
        make.write_text(
            MAKE.format(devstack=Path(sys.executable).with_name("devstack"), folder=folder)
        )
        make.chmod(0o755)
        (folder / "tutorial").mkdir()
        (folder / ".venv").symlink_to(Path(sys.prefix))
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BACKBONE_")}
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = {**kept, "PATH": path, "COLUMNS": "300"}

    def follow(self, page: Path) -> None:
        for step in pages.steps(page):
            if isinstance(step, pages.Written):
                (self._folder / step.path).write_text(step.text)
            elif step.elsewhere:
                self._start(step.line)
            else:
                self._perform(step, page.name)

    def close(self) -> None:
        for process in self._elsewhere:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)
        self._call("make down")

    def _perform(self, step: pages.Command, page: str) -> None:
        line = self._shown.typed(step.line)
        deadline = time.monotonic() + (PATIENCE if QUESTION.match(line) else 0.0)
        while not self._shown.came(step.shown, printed := self._call(line)):
            if time.monotonic() > deadline:
                expected = "\n".join(step.shown)
                pytest.fail(f"{page}: $ {line}\n{printed}\nThe page shows:\n{expected}")

    def _call(self, line: str) -> str:
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
        ).stdout

    def _start(self, line: str) -> None:
        with (self._folder / "elsewhere.log").open("ab") as log:
            self._elsewhere.append(
                subprocess.Popen(
                    ["bash", "-c", line],
                    cwd=self._folder,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )


@pytest.fixture
def reader(tmp_path):
    reader = Reader(tmp_path)
    yield reader
    reader.close()


@pytest.mark.timeout(1800)  # two starts of a stack, and fifty calls, on a busy machine
def test_the_tutorial_is_followed_word_by_word(reader):
    index = (FOLDER / "index.md").read_text()
    listed = re.findall(r"^\d\. \[[^\]]+\]\(([\w-]+\.md)\)", index, re.MULTILINE)
    assert {*listed, "index.md"} == {page.name for page in FOLDER.glob("*.md")}
    for name in listed:
        reader.follow(FOLDER / name)
