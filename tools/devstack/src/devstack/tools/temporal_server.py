"""Finds Temporal's full server and the tool that makes its schema: on PATH, else built with Go."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from devstack.tools import cache, golang

# The newest that the Go of its own go.mod builds; later ones of this line do not.
VERSION = "1.31.2"
_SERVER = f"go.temporal.io/server/cmd/server@v{VERSION}"
_SQL_TOOL = f"go.temporal.io/server/cmd/tools/sql@v{VERSION}"


@dataclass(frozen=True)
class TemporalServer:
    """The programs of the full server."""

    server: Path
    sql_tool: Path


def find_temporal_server() -> TemporalServer:
    """Return Temporal's full server and its SQL tool, building them when the machine has none.

    Raises:
        ToolMissingError: They are not there and cannot be built.
    """
    server, sql_tool = shutil.which("temporal-server"), shutil.which("temporal-sql-tool")
    # Only together: the tool brings the schema of its own version.
    if server and sql_tool:
        return TemporalServer(Path(server), Path(sql_tool))

    def build(target: Path) -> None:
        for package, built, name in (
            (_SERVER, "server", "temporal-server"),
            (_SQL_TOOL, "sql", "temporal-sql-tool"),
        ):
            golang.build(
                package,
                target,
                failure=(
                    f"Temporal's server {VERSION} cannot be built; put `temporal-server` and "
                    "`temporal-sql-tool` on PATH"
                ),
            )
            (target / built).rename(target / name)

    entry = cache.installed(
        f"temporal-server-{VERSION}",
        build,
        what=f"building Temporal's full server {VERSION} with Go",
        usual="5 min",
    )
    return TemporalServer(entry / "temporal-server", entry / "temporal-sql-tool")
