"""`make chaos` and `make certificate`: one seed or several in a row, on one stack.

Run as a script: its folder is then the one that modules are found in.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import certificate
import trial
from stack import Stack
from trial import Verdict

EVENTS, FAULTS = 200, 12


def main(arguments: list[str]) -> int:
    """Run the campaign; the exit code is 1 when a seed is red or the nemesis did nothing."""
    options = parse(arguments)
    first = options.seed if options.seed is not None else int(time.time()) % 1_000_000
    seeds = range(first, first + options.seeds)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    _say(f"chaos: seeds {seeds[0]} to {seeds[-1]}, histories and logs in {folder}")
    verdicts = []
    with Stack(folder, secure=options.secure) as stack:
        versions = certificate.versions(secure=options.secure)
        asyncio.run(trial.prepare(stack, folder))
        for seed in seeds:
            verdict = asyncio.run(
                trial.run(
                    stack,
                    seed=seed,
                    events=options.events,
                    fault_count=options.faults,
                    folder=folder,
                    every_kind=options.every_kind,
                )
            )
            verdicts.append(verdict)
            _say(verdict.line())
            for violation in verdict.violations[: options.show]:
                _say(f"    {violation}")
            if not verdict.green:
                _say(f"    {again(verdict, options)}")
            if not verdict.green and options.stop:
                break
        overall = asyncio.run(trial.from_the_beginning(stack)) if len(verdicts) > 1 else []
        crashes = [str(crash) for crash in stack.suite.crashes()]
    idle = trial.idle(verdicts)
    for sentence in idle:
        _say(f"chaos: the nemesis: {sentence}")
    for violation in overall[: options.show]:
        _say(f"chaos: over all seeds: {violation}")
    if options.certificate is not None:
        written = certificate.write(
            options.certificate,
            verdicts,
            versions=versions,
            idle=idle,
            overall=overall,
            crashes=crashes,
        )
        _say(f"chaos: the certificate is in {written}")
    red = [verdict.seed for verdict in verdicts if not verdict.green]
    _say(
        f"chaos: {len(verdicts) - len(red)} of {len(verdicts)} seeds green"
        + (f", red: {', '.join(map(str, red))}" if red else "")
    )
    return 1 if red or idle or overall else 0


def again(verdict: Verdict, options: argparse.Namespace) -> str:
    """Return how a seed is run again as the options say, and where its history is."""
    words = [f"SEED={verdict.seed}", f"EVENTS={options.events}", f"FAULTS={options.faults}"]
    words += ["SECURE=1"] if options.secure else []
    words += ["ARGS=--every-kind"] if options.every_kind else []
    return f"again: make chaos {' '.join(words)}; history: {verdict.history}"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options of a campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="The first one; else of the clock.")
    parser.add_argument("--seeds", type=int, default=1, help="How many in a row.")
    parser.add_argument("--events", type=int, default=EVENTS, help="Distinct events a seed.")
    parser.add_argument("--faults", type=int, default=FAULTS, help="Faults a seed.")
    parser.add_argument("--secure", action="store_true", help="With certificates everywhere.")
    parser.add_argument(
        "--every-kind", action="store_true", help="One fault of each kind in each seed, at least."
    )
    parser.add_argument("--folder", type=Path, help="For state, logs and histories.")
    parser.add_argument("--certificate", type=Path, help="Where a report of the run goes.")
    parser.add_argument("--show", type=int, default=20, help="Violations shown of a red seed.")
    parser.add_argument("--stop", action="store_true", help="End with the first red seed.")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - it is a command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
