"""Finds Prometheus and promtool, its tool for rules: on PATH, else built with Go."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from devstack.tools import cache, golang

VERSION = "3.16.0"
# As a Go module it is numbered from 0: 3.16 is 0.316.
_MODULE_VERSION = "v0.316.0"
_PACKAGES = tuple(
    f"github.com/prometheus/prometheus/cmd/{name}@{_MODULE_VERSION}"
    for name in ("prometheus", "promtool")
)
# Service discovery of every cloud is most of it; files and fixed targets stay.
_TAGS = "remove_all_sd"


@dataclass(frozen=True)
class Prometheus:
    """The programs of Prometheus."""

    server: Path
    promtool: Path


def find_prometheus() -> Prometheus:
    """Return the server and promtool, building them when the machine has none.

    Raises:
        ToolMissingError: They are not there and cannot be built.
    """
    server, promtool = shutil.which("prometheus"), shutil.which("promtool")
    # Only together: rules are read by both.
    if server and promtool:
        return Prometheus(Path(server), Path(promtool))

    def build(target: Path) -> None:
        for package in _PACKAGES:
            golang.build(
                package,
                target,
                failure=(
                    f"Prometheus {VERSION} cannot be built; put `prometheus` and `promtool` on PATH"
                ),
                ldflags="-s -w",
                tags=_TAGS,
            )

    entry = cache.installed(
        f"prometheus-{VERSION}",
        build,
        what=f"building Prometheus {VERSION} with Go",
        usual="3-6 minutes",
    )
    return Prometheus(entry / "prometheus", entry / "promtool")
