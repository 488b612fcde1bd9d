"""The bill of materials of each image: whole, by hash, and valid CycloneDX."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.tools import auditing

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/Dockerfile"))
VALIDATE = """
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
validator = JsonStrictValidator(SchemaVersion.V1_6)
bills = json.load(sys.stdin)
print(json.dumps({name: repr(validator.validate_str(bill)) for name, bill in bills.items()}))
"""


@pytest.fixture(scope="module")
def bills(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sbom")
    subprocess.run(
        [sys.executable, "-m", "devstack", "sbom", "--output", folder], check=True, timeout=240
    )
    return {path.name.removesuffix(".cdx.json"): path.read_text() for path in folder.iterdir()}


def test_each_image_has_one(bills):
    assert sorted(bills) == SERVICES


def of_windows(lock):
    return set(re.findall(r"^([a-z0-9-]+)==.*== \'(?:win32|Windows)\'", lock, re.MULTILINE))


@pytest.mark.parametrize("service", SERVICES)
def test_it_lists_what_the_image_installs_each_by_hash(bills, service):
    bill = json.loads(bills[service])
    assert bill["metadata"]["component"]["name"] == service
    locked = {one["name"]: one for one in bill["components"] if "purl" in one}
    lock = (ROOT / "services" / service / "requirements.txt").read_text()
    elsewhere = of_windows(lock)
    assert "pywin32" in of_windows((ROOT / "requirements/lock.txt").read_text())
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", lock, re.MULTILINE))
    assert {name: one["version"] for name, one in locked.items()} == {
        name: version for name, version in pinned.items() if name not in elsewhere
    }
    for one in locked.values():
        (file,) = one["externalReferences"]
        assert {entry["alg"] for entry in file["hashes"]} == {"SHA-256"}, one["name"]


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_ours_has_no_address_in_a_public_index(bills, service):
    ours = {one["name"] for one in json.loads(bills[service])["components"] if "purl" not in one}
    dockerfile = (ROOT / "services" / service / "Dockerfile").read_text()
    assert ours == set(re.findall(r"^COPY libs/([a-z]+) ", dockerfile, re.MULTILINE))
    assert {"contracts", "runtime", "signing"} <= ours


def test_each_is_valid(bills):
    _, environment = auditing.command("cyclonedx")
    done = subprocess.run(
        [sys.executable, "-c", VALIDATE],
        input=json.dumps(bills),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    assert json.loads(done.stdout) == dict.fromkeys(SERVICES, "None")
