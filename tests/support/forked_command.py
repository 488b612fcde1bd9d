"""What a call of `backbone_command` does in its process; a module that imports next to nothing."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn


def run(
    words: Sequence[str], environment: Mapping[str, str], folder: str, printed: str, said: str
) -> NoReturn:
    """Be the `backbone` command, called in a folder, which prints into two files."""
    for stream, path in ((sys.stdout, printed), (sys.stderr, said)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, stream.fileno())
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["backbone", *words]
    from cli.__main__ import main

    main()
