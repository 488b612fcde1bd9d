"""SQL lives in files: `<package>/sql/<name>.sql`, cut into named blocks.

A block starts with `-- name: insert_run` and reaches to the next one.
"""

import re
from importlib import resources

_BLOCK = re.compile(r"^-- name: ([a-z][a-z0-9_]*)\s*$", re.MULTILINE)


def load(package: str, name: str) -> dict[str, str]:
    """Return the blocks of a package's SQL file by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: two blocks share a name, or text stands before the first one.
    """
    text = resources.files(package).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    parts = _BLOCK.split(text)
    preamble = "\n".join(line for line in parts[0].splitlines() if not line.startswith("--"))
    if preamble.strip():
        raise ValueError(f"{package}/sql/{name}.sql: text before the first '-- name:'")
    blocks: dict[str, str] = {}
    for block, body in zip(parts[1::2], parts[2::2], strict=True):
        if block in blocks:
            raise ValueError(f"{package}/sql/{name}.sql: two blocks are named {block}")
        blocks[block] = body.strip().rstrip(";")
    return blocks
