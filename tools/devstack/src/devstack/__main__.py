"""Entry point of `devstack` and `python -m devstack`."""

import sys

from devstack.command import application
from devstack.errors import DevstackError


def main() -> None:
    """Run the command; an error is one sentence and no traceback."""
    try:
        application()
    except DevstackError as exc:
        sys.exit(f"devstack: {exc}")


if __name__ == "__main__":
    main()
