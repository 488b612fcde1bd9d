"""How images are made: of what is locked and ours, for a user who may do nothing."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted(ROOT.glob("services/*/Dockerfile"))
SERVICES = [path.parent.name for path in DOCKERFILES]
# Run for a service: the distributions of its image are all there is, and all of its modules are
# imported.
IMPORTED = """
import importlib, importlib.metadata, pkgutil, re, sys
package, *there = sys.argv[1:]
def normal(name):
    return re.sub("[-_.]+", "-", name).lower()
made_by = {}
for distribution in importlib.metadata.distributions():
    for file in distribution.files or ():
        if file.suffix == ".py":
            parts = file.with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            made_by.setdefault(name, set()).add(normal(distribution.name))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in made_by and not made_by[name] & set(there):
            raise ModuleNotFoundError(f"No module named {name!r} in the image", name=name)
sys.meta_path.insert(0, Absent())
for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
import opentelemetry.exporter.otlp.proto.grpc.trace_exporter
"""


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
        assert "--require-hashes -r " in install or "--no-deps --no-index" in install
    (wheels,) = [rest for rest in arguments(steps, "RUN") if "pip wheel" in rest]
    assert "--no-deps --no-build-isolation" in wheels
    assert not arguments(steps, "ADD"), "it would fetch what nobody has locked"


def test_it_runs_as_nobody_in_particular(steps):
    last_stage = steps[max(i for i, (word, _) in enumerate(steps) if word == "FROM") :]
    assert arguments(last_stage, "USER") == ["10001:10001"]
    assert not [rest for rest in arguments(last_stage, "COPY") if "--from=build" not in rest]


def test_it_says_what_it_is_and_whether_it_is_well(steps):
    labels = arguments(steps, "LABEL")[0]
    (entry,) = arguments(steps, "ENTRYPOINT")
    package = json.loads(entry)[-1]
    assert f'image.title="backbone/{package.replace("_", "-")}"' in labels
    assert "image.description=" in labels
    # It asks where the image has the service listen.
    (health,) = arguments(steps, "HEALTHCHECK")
    (port,) = re.findall(
        r"BACKBONE_HTTP_LISTEN=0\.0\.0\.0:(\d+)", " ".join(arguments(steps, "ENV"))
    )
    assert f"http://127.0.0.1:{port}/readyz" in health


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
        if not re.fullmatch(r"(libs|services)/[a-z-]+(/requirements\.txt)?|requirements/.*", path)
    ]


def entries(path):
    """Return name and version with the hashes of each package of a lock."""
    found = re.split(r"\n(?=\S)", path.read_text().strip())
    return {
        re.split(r"[ ;\\]", entry, maxsplit=1)[0]: frozenset(re.findall(r"sha256:\w+", entry))
        for entry in found
    }


@pytest.mark.parametrize(
    "path", ["requirements/build.txt", *map("services/{}/requirements.txt".format, SERVICES)]
)
def test_what_an_image_has_is_a_part_of_the_lock(path):
    part = entries(ROOT / path)
    assert part
    assert part.items() <= entries(ROOT / "requirements/lock.txt").items()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_needs_nothing_that_its_image_lacks(service):
    there = {
        name.split("==")[0] for name in entries(ROOT / "services" / service / "requirements.txt")
    }
    dockerfile = (ROOT / "services" / service / "Dockerfile").read_text()
    there |= {*re.findall(r"^COPY libs/([a-z]+) ", dockerfile, re.MULTILINE), service}
    subprocess.run(
        [sys.executable, "-c", IMPORTED, service.replace("-", "_"), *there], check=True, timeout=240
    )


def test_the_builder_sees_sources_and_the_lock_alone():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert [rule for rule in rules if rule.startswith("!")] == [
        *("!libs", "!services", "!requirements/build.txt"),
    ]
