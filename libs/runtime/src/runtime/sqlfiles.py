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
    return blocks(text, f"{package}/sql/{name}.sql")


def blocks(text: str, source: str) -> dict[str, str]:
    """Return the blocks of such a file's text by name; `source` is what errors call it.

    Raises:
        ValueError: two blocks share a name, or text stands before the first one.
    """
    parts = _BLOCK.split(text)
    preamble = "\n".join(line for line in parts[0].splitlines() if not line.startswith("--"))
    if preamble.strip():
        raise ValueError(f"{source}: text before the first '-- name:'")
    found: dict[str, str] = {}
    for block, body in zip(parts[1::2], parts[2::2], strict=True):
        if block in found:
            raise ValueError(f"{source}: two blocks are named {block}")
        found[block] = body.strip().rstrip(";")
    return found
