"""Prints what `tally` needs to consume from the local stack, for a shell to evaluate.

    eval "$(.venv/bin/python examples/consumer/on_stack.py)"

The database `tally` is made on the stack's PostgreSQL, beside Backbone's own, when it is not there.
"""

import argparse
import shlex
import sys
from pathlib import Path

import psycopg

from devstack.state import StateFolder

ROOT = Path(__file__).resolve().parents[2]
DATABASE = "tally"
KAFKA = "BACKBONE_KAFKA_BOOTSTRAP_SERVERS"


def main() -> int:
    """Make the database and print the variables; the exit code is 1 when no stack runs."""
    parser = argparse.ArgumentParser(description="Print what tally needs on the local stack.")
    parser.add_argument("--state", type=Path, default=ROOT / ".backbone", help="default: .backbone")
    state = StateFolder(parser.parse_args().state)
    try:
        variables = dict(
            line.split("=", 1) for line in (state.path / "env").read_text().splitlines()
        )
        server = (
            f"postgres:{state.secret('postgres')}@127.0.0.1:{state.read('ports', {})['postgres']}"
        )
        with psycopg.connect(f"postgresql://{server}/postgres", autocommit=True) as connection:
            if not connection.execute(
                "SELECT FROM pg_database WHERE datname = %s", (DATABASE,)
            ).rowcount:
                connection.execute(f"CREATE DATABASE {DATABASE}")
    except (OSError, KeyError, psycopg.OperationalError):
        print("no stack runs here: make demo KEEP=1", file=sys.stderr)  # noqa: T201
        return 1
    print(f"export {KAFKA}={shlex.quote(variables[KAFKA])}")  # noqa: T201 - a command's answer
    print(f"export TALLY_DSN=postgresql://{server}/{DATABASE}")  # noqa: T201 - a command's answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
