"""`python -m benchmarks NAME`: runs one benchmark."""

import asyncio
import sys

from benchmarks import (
    console,
    first_run,
    matching,
    observed,
    registry,
    relay,
    relay_bloat,
    report,
    router,
    runs,
    schedules,
    secure,
)

BENCHMARKS = {
    "console": console.main,
    "first-run": first_run.main,
    "matching": matching.main,
    "observed": observed.main,
    "registry": registry.main,
    "relay": relay.main,
    "relay-bloat": relay_bloat.main,
    "router": router.main,
    "runs": runs.main,
    "schedules": schedules.main,
    "secure": secure.main,
}


def main() -> None:
    """Run the benchmark that the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] not in BENCHMARKS:
        report.note(f"usage: python -m benchmarks {' | '.join(BENCHMARKS)}")
        sys.exit(2)
    report.machine()
    asyncio.run(BENCHMARKS[sys.argv[1]](sys.argv[2:]))


if __name__ == "__main__":
    main()
