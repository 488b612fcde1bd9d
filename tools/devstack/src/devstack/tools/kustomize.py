"""Finds kustomize, which renders manifests: by itself or in kubectl on PATH, else built with Go."""

import shutil
from pathlib import Path

from devstack.tools import cache, golang

VERSION = "5.7.1"
_PACKAGE = f"sigs.k8s.io/kustomize/kustomize/v5@v{VERSION}"


def rendering(overlay: Path) -> list[str]:
    """Return the command line that prints the manifests of `overlay`.

    Raises:
        ToolMissingError: no such program is there and none can be built.
    """
    if program := shutil.which("kustomize"):
        return [program, "build", str(overlay)]
    if program := shutil.which("kubectl"):
        return [program, "kustomize", str(overlay)]
    return [str(_built()), "build", str(overlay)]


def _built() -> Path:
    def build(target: Path) -> None:
        golang.build(
            _PACKAGE,
            target,
            failure=f"kustomize {VERSION} cannot be built; put `kubectl` or `kustomize` on PATH",
        )

    entry = cache.installed(
        f"kustomize-{VERSION}",
        build,
        what=f"building kustomize {VERSION} with Go",
        usual="1-2 minutes",
    )
    return entry / "kustomize"
