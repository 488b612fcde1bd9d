"""Bills of materials: what is in the image of each service, in CycloneDX's JSON.

An image has those locked packages of its service that are for its platform (ADR 005), and the
packages of ours that its Dockerfile copies. Those have no package URL: there are others of their
names in public indexes.
"""

import json
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from devstack.errors import DevstackError
from devstack.tools import auditing

# Of the oldest patch release: which one an image has is its base's business.
_IMAGE = {
    "python_version": "3.11",
    "python_full_version": "3.11.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "os_name": "posix",
}
_COPIED = re.compile(r"^COPY (libs/[a-z-]+) ", re.MULTILINE)


def write(root: Path, target: Path) -> list[Path]:
    """Write `<service>.cdx.json` of each service of the clone at `root`; return the files.

    Raises:
        DevstackError: one cannot be made; the generator's last words are in it.
        ToolMissingError: the generator cannot be installed.
    """
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for dockerfile in sorted(root.glob("services/*/Dockerfile")):
        service = dockerfile.parent
        locked = _generated(_of_the_image((service / "requirements.txt").read_text()))
        of_it = {**_ours(service), "type": "application"}
        ours = [_ours(root / folder) for folder in _COPIED.findall(dockerfile.read_text())]
        bill = {
            **locked,
            "metadata": {**locked["metadata"], "component": of_it},
            "components": [*locked["components"], *ours],
            "dependencies": [*locked["dependencies"], {"ref": of_it["bom-ref"]}],
        }
        written.append(target / f"{service.name}.cdx.json")
        written[-1].write_text(json.dumps(bill, indent=2) + "\n")
    return written


def _of_the_image(lock: str) -> str:
    entries = re.split(r"\n(?=\S)", lock.strip())
    kept = []
    for entry in entries:
        requirement = Requirement(entry.split("\\", 1)[0].strip())
        if requirement.marker is None or requirement.marker.evaluate(_IMAGE):
            kept.append(entry)
    return "\n".join(kept) + "\n"


def _generated(locked: str) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(locked)
        requirements.flush()
        argv, environment = auditing.command(
            "cyclonedx_py",
            *("requirements", requirements.name),
            *("--output-reproducible", "--short-PURLs", "--spec-version", "1.6"),
            # What is made of it is held to the schema by tests/contract/test_bills.py.
            "--no-validate",
        )
        done = subprocess.run(  # noqa: S603 - the argument vector is this package's own
            argv, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise DevstackError(f"no bill of materials: {said[-1]}")
    bill: dict[str, Any] = json.loads(done.stdout)
    return bill


def _ours(folder: Path) -> dict[str, Any]:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return {
        "bom-ref": f"backbone/{project['name']}",
        "type": "library",
        "group": "backbone",
        "name": project["name"],
        "version": project["version"],
    }
