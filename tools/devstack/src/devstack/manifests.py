"""Manifests as kustomize renders them: each base, each overlay, and each overlay with its extras.

An extra is a component for what not every cluster has. It stands in a layer above an overlay, where
it sees the overlay's settings as they are in the end.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from devstack.errors import DevstackError
from devstack.tools import kustomize

FOLDER = Path("deploy/kustomize")
EXTRAS = (
    *("kafka-strimzi", "keda", "hpa", "backups"),
    *("worker-builds", "observability", "prometheus-operator"),
)
_SECURED_ONLY = frozenset(EXTRAS) - {"hpa", "worker-builds"}  # they go by certificates
_EITHER = frozenset({"keda", "hpa"})  # both count replicas of the same Deployments
_BEHIND = {"prometheus-operator": "observability"}  # scrapes a port that the other opens
_LIMIT = 120.0  # seconds


@dataclass(frozen=True)
class Layer:
    """An overlay, and the extras that are put upon it."""

    overlay: str
    extras: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "+".join((self.overlay, *self.extras))


def overlays(root: Path) -> list[str]:
    """Return the overlays of the clone at `root`."""
    return _folders(root, "overlays")


def bases(root: Path) -> list[str]:
    """Return the bases of the clone at `root`."""
    return _folders(root, "base")


def layers(root: Path) -> Iterator[Layer]:
    """Yield each overlay alone, with each extra, and with as many as go together.

    Any two that go together are so in one of them. All choices would be five times as many, and
    twice that with each extra more.
    """
    for overlay in overlays(root):
        secured = _is_secured(root, overlay)
        possible = [extra for extra in EXTRAS if secured or extra not in _SECURED_ONLY]
        most = [tuple(one for one in possible if one not in _EITHER - {kept}) for kept in _EITHER]
        alone = [(_BEHIND[one], one) if one in _BEHIND else (one,) for one in possible]
        for chosen in dict.fromkeys([(), *alone, *sorted(most)]):
            yield Layer(overlay, chosen)


def base(root: Path, name: str) -> str:
    """Return a base by itself, as YAML.

    Raises:
        DevstackError: it cannot be rendered.
    """
    return _rendered(root / FOLDER / "base" / name)


def layer(root: Path, wanted: Layer) -> str:
    """Return an overlay with extras, as YAML.

    Raises:
        DevstackError: it cannot be rendered.
    """
    # Kustomize takes relative paths only, and looks through links.
    folder = (root / FOLDER).resolve()
    with tempfile.TemporaryDirectory() as name:
        above = Path(name).resolve()
        to = os.path.relpath(folder, above)
        kustomization: dict[str, Any] = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"{to}/overlays/{wanted.overlay}"],
            "components": [f"{to}/components/{extra}" for extra in wanted.extras],
        }
        (above / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return _rendered(above)


def write(root: Path, target: Path) -> Iterator[Path]:
    """Write everything that can be rendered into a folder; yield each file when it is there.

    Raises:
        DevstackError: one cannot be rendered.
    """
    target.mkdir(parents=True, exist_ok=True)
    for stale in target.glob("*.yaml"):
        stale.unlink()
    for name in bases(root):
        yield _written(target / f"base-{name}.yaml", base(root, name))
    for one in layers(root):
        yield _written(target / f"{one}.yaml", layer(root, one))


def _written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def _folders(root: Path, kind: str) -> list[str]:
    found = (root / FOLDER / kind).glob("*/kustomization.yaml")
    return sorted(path.parent.name for path in found)


def _is_secured(root: Path, overlay: str) -> bool:
    file = root / FOLDER / "overlays" / overlay / "kustomization.yaml"
    return "../../components/secured" in yaml.safe_load(file.read_text()).get("components", [])


def _rendered(folder: Path) -> str:
    done = subprocess.run(  # noqa: S603 - the argument vector is this package's own
        kustomize.rendering(folder), capture_output=True, text=True, check=False, timeout=_LIMIT
    )
    if done.returncode:
        raise DevstackError(f"{folder} cannot be rendered: {done.stderr.strip()[-2000:]}")
    return done.stdout
