"""Finds toxiproxy-server, the fault proxy of the chaos tests: on PATH, else built with Go."""

import shutil
from pathlib import Path

from devstack.tools import cache, golang

VERSION = "2.5.0"
_PACKAGE = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{VERSION}"


def find_toxiproxy() -> Path:
    """Return the toxiproxy-server program, installing it when the machine has none.

    Raises:
        ToolMissingError: None is there and none can be built.
    """
    if program := shutil.which("toxiproxy-server"):
        return Path(program)

    def build(target: Path) -> None:
        golang.build(
            _PACKAGE,
            target,
            failure=(
                f"toxiproxy {VERSION} cannot be built; put a `toxiproxy-server` program on PATH"
            ),
        )
        (target / "server").rename(target / "toxiproxy-server")

    entry = cache.installed(
        f"toxiproxy-{VERSION}", build, what=f"building toxiproxy {VERSION} with Go", usual="20 s"
    )
    return entry / "toxiproxy-server"
