"""The report of a campaign: what ran where, what was done to it, what was found."""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import checker
import psutil
import visits
from trial import Verdict

from devstack import tools
from devstack.tools import kafka, toxiproxy

LIBRARIES = (
    *("asyncpg", "confluent-kafka", "faststream", "grpcio", "pydantic", "redis", "temporalio"),
)
ROOT = Path(__file__).parents[2]


def versions(*, secure: bool = False) -> dict[str, str]:
    """Return what runs: the revision of the clone, servers, libraries, the machine."""
    temporal = tools.find_temporal_server().server if secure else tools.find_temporal()
    programs = {
        "PostgreSQL": [str(tools.find_postgresql().bin / "postgres"), "--version"],
        "Redis": [str(tools.find_redis()), "--version"],
        "Temporal": [str(temporal), "--version"],
        "Java": [str(tools.find_kafka().java), "--version"],
    }
    found = {
        "Backbone": _revision() + (", on the secure stack" if secure else ""),
        **{name: _said(argv) for name, argv in programs.items()},
        "Kafka": kafka.VERSION,
        "toxiproxy": toxiproxy.VERSION,
        "Python": platform.python_version(),
    }
    found |= {name: importlib.metadata.version(name) for name in LIBRARIES}
    memory = psutil.virtual_memory().total / 2**30
    found["machine"] = (
        f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores, "
        f"{memory:.0f} GiB"
    )
    return found


def write(
    folder: Path,
    verdicts: Sequence[Verdict],
    *,
    versions: dict[str, str],
    idle: Sequence[str],
    overall: Sequence[str],
    crashes: Sequence[str],
) -> Path:
    """Write `certificate.json` and `certificate.md`; return the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "verdict": (
            "green" if not idle and not overall and all(v.green for v in verdicts) else "red"
        ),
        "versions": versions,
        "invariants": checker.INVARIANTS,
        "nemesis_left_undone": list(idle),
        "violations_over_all_seeds": list(overall),
        "crashes_nobody_asked_for": list(crashes),
        "seeds": [_seed(verdict) for verdict in verdicts],
    }
    (folder / "certificate.json").write_text(json.dumps(document, indent=1) + "\n")
    path = folder / "certificate.md"
    path.write_text(_page(document))
    return path


def _seed(verdict: Verdict) -> dict[str, Any]:
    intents, seen = verdict.outcome.intents, verdict.outcome.seen
    applied = visits.steps(seen.rows_here())
    return {
        "seed": verdict.seed,
        "verdict": "green" if verdict.green else "red",
        "begun": verdict.begun.isoformat(timespec="seconds"),
        "seconds": round(verdict.seconds, 1),
        "at_rest_s": round(verdict.outcome.settling_s, 1),
        "counts": {
            "records sent": len(intents.sent),
            "of these unknown to the sender": sum(sent.offset is None for sent in intents.sent),
            "records in Kafka": len(seen.inputs),
            "starts by hand": len(intents.triggered),
            "answers to human tasks": len(intents.answered),
            "versions applied": len(intents.applied),
            "due times": len(seen.due_times),
            "runs": len(seen.runs),
            "tasks": sum(len(run.tasks) for run in seen.runs),
            "generations of instances": len(seen.instances),
            "events applied to them": sum(not step.of_timer for step in applied),
            "timers of them that fired": sum(step.of_timer for step in applied),
            "of their workflows begun anew after a termination": visits.came_back(seen),
            "rows of events": len(seen.rows_here()),
            "events on Kafka": len(seen.events),
            "dead letters": len(seen.dead_letters),
            "of these redriven": len(seen.resolutions),
            "kills": verdict.kills,
        },
        "duplicates": verdict.duplicates,
        "faults": [
            {
                "fault": one.fault.name,
                "began_s": round(one.began, 1),
                "healed_s": None if one.healed is None else round(one.healed, 1),
                "failure": one.failure,
            }
            for one in verdict.inflicted
        ],
        "invariants": {
            name: {"verdict": "red" if found else "green", "violations": found}
            for name, found in verdict.by_invariant().items()
        },
    }


def _page(document: dict[str, Any]) -> str:
    lines = [
        "# Certificate of a chaos run",
        "",
        f"Verdict: **{document['verdict']}**. Written {document['written_at']}.",
        "",
        "| what ran | version |",
        "|---|---|",
        *(f"| {name} | {version} |" for name, version in document["versions"].items()),
        "",
        "| invariant | promise | red seeds |",
        "|---|---|---|",
    ]
    for name, promise in document["invariants"].items():
        red = [
            str(seed["seed"])
            for seed in document["seeds"]
            if seed["invariants"][name]["verdict"] == "red"
        ]
        lines.append(f"| {name} | {promise} | {', '.join(red) or 'none'} |")
    for title, sentences in (
        ("What the nemesis left undone", document["nemesis_left_undone"]),
        ("Violations over all seeds", document["violations_over_all_seeds"]),
        ("Crashes nobody asked for", document["crashes_nobody_asked_for"]),
    ):
        if sentences:
            lines += ["", f"## {title}", "", *(f"- {s.splitlines()[0]}" for s in sentences)]
    for seed in document["seeds"]:
        lines += ["", f"## Seed {seed['seed']}: {seed['verdict']}", ""]
        lines.append(
            f"Begun {seed['begun']}, {seed['seconds']} s, at rest {seed['at_rest_s']} s after the "
            "last operation."
        )
        lines += ["", "| count | |", "|---|---:|"]
        lines += [f"| {name} | {count} |" for name, count in seed["counts"].items()]
        lines += [f"| duplicates: {name} | {n} |" for name, n in seed["duplicates"].items()]
        lines += ["", "| fault | from, s | to, s |", "|---|---:|---:|"]
        lines += [f"| {f['fault']} | {f['began_s']} | {f['healed_s']} |" for f in seed["faults"]]
        violations = [v for one in seed["invariants"].values() for v in one["violations"]]
        if violations:
            lines += ["", *(f"- {violation}" for violation in violations)]
    return "\n".join(lines) + "\n"


def _revision() -> str:
    changed = _said(["git", "-C", str(ROOT), "status", "--porcelain"])
    return _said(["git", "-C", str(ROOT), "rev-parse", "HEAD"]) + (
        " with changes" if changed else ""
    )


def _said(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout.strip().splitlines() or ["unknown"])[0] if done.returncode == 0 else "none"
