"""How images are made: of what is locked and ours, for a user who may do nothing."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted(ROOT.glob("services/*/Dockerfile"))


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.parent.name)
def steps(request):
    text = request.param.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def arguments(steps, instruction):
    return [rest for word, rest in steps if word == instruction]


def test_everything_is_installed_by_hash_or_is_ours(steps):
    installs = [rest for rest in arguments(steps, "RUN") if "install" in rest]
    assert installs
    for install in installs:
        assert "--require-hashes -r " in install or "--no-deps --no-build-isolation" in install
    assert not arguments(steps, "ADD"), "it would fetch what nobody has locked"


def test_it_runs_as_nobody_in_particular(steps):
    last_stage = steps[max(i for i, (word, _) in enumerate(steps) if word == "FROM") :]
    assert arguments(last_stage, "USER") == ["10001:10001"]
    assert not [rest for rest in arguments(last_stage, "COPY") if "--from=build" not in rest]


def test_its_base_can_be_given_by_digest(steps):
    assert steps[0][0] == "ARG"
    assert steps[0][1].startswith("PYTHON_IMAGE=")
    assert set(arguments(steps, "FROM")) == {"${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"}


def test_nothing_of_the_builder_s_is_put_into_it(steps):
    said = " ".join(arguments(steps, "ENV") + arguments(steps, "ARG"))
    assert not re.search(r"password|secret|token|key|dsn", said, re.IGNORECASE)
    copied = [rest.split()[0] for rest in arguments(steps, "COPY") if "--from" not in rest]
    assert not [
        path
        for path in copied
        if not re.fullmatch(r"(libs|services)/[a-z-]+|requirements/.*", path)
    ]


def test_the_builder_sees_sources_and_the_lock_alone():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert [rule for rule in rules if rule.startswith("!")] == [
        *("!libs", "!services", "!requirements/lock.txt"),
    ]
