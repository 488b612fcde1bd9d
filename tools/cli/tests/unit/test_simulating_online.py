import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from backbone.router.v1 import router_pb2
from contracts import canonical, definitions
from contracts.decisions import Decision, RuleTrace
from runtime import rpcerrors

ROOT = Path(__file__).parents[4]
OVERDUE = str(ROOT / "examples" / "definitions" / "overdue-invoices.yaml")
DUE = ("--at", "2026-03-02T12:00:00Z", "--online")


def decided() -> bytes:
    return canonical.render(
        Decision(
            definition_id="billing.overdue-invoices",
            definition_version=1,
            snapshot_sha256="00",
            tasks=[],
            rules=[RuleTrace(rule="remind", when=False)],
        )
    )


def test_the_context_is_looked_up_where_it_would_be_and_told_without_its_values(
    backbone: Any, stack: Path, services: Any
) -> None:
    services.router.simulation = router_pb2.SimulateRunResponse(
        outcome="decided",
        decision=decided(),
        looked_at=[
            router_pb2.LookedAt(name="overdue", items=3, size=120, sha256="abc"),
            router_pb2.LookedAt(name="crm", items=-1, size=4, sha256="d", missing="it is away"),
        ],
    )
    said = backbone("simulate", "-f", OVERDUE, *DUE)
    assert (said.exit_code, said.stderr) == (0, "")
    assert "looks at overdue: 3 items, 120 bytes, sha256 abc" in said.stdout
    assert "looks at crm: null, since it is away" in said.stdout
    assert "rule remind: when is false, 0 tasks" in said.stdout
    (asked,) = services.router.simulated
    assert asked.namespace == "dev"
    definition = definitions.load(asked.definition)
    assert definition.metadata.id == "billing.overdue-invoices"
    trigger = json.loads(asked.trigger)
    assert (trigger["kind"], trigger["names"]) == ("schedule", ["often"])
    (one,) = json.loads(backbone("simulate", "-f", OVERDUE, *DUE, "-o", "json").stdout)[
        "simulations"
    ]
    assert [entry["missing"] for entry in one["looked_at"]] == [None, "it is away"]
    assert one["decision"]["rules"][0]["rule"] == "remind"


@pytest.mark.parametrize(
    ("outcome", "reason", "said"),
    [
        ("waits", "billing-db is away", "and would wait: billing-db is away"),
        ("failed", "rule 'remind', when: no", "and would fail: rule 'remind', when: no"),
    ],
)
def test_a_run_that_would_not_decide_says_why(  # noqa: PLR0917 - fixtures
    backbone: Any, stack: Path, services: Any, outcome: str, reason: str, said: str
) -> None:
    services.router.simulation = router_pb2.SimulateRunResponse(outcome=outcome, reason=reason)
    result = backbone("simulate", "-f", OVERDUE, *DUE)
    assert result.exit_code == 1
    assert said in result.stdout


def test_what_the_router_refuses_is_told_in_a_sentence(
    backbone: Any, stack: Path, services: Any
) -> None:
    services.router.refusal = rpcerrors.UnavailableError("no worker on the task queue x")
    result = backbone("simulate", "-f", OVERDUE, *DUE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no worker on the task queue x" in result.stderr


def test_a_version_of_the_registry_is_simulated_by_its_number(
    backbone: Any, stack: Path, services: Any
) -> None:
    document = yaml.safe_load(Path(OVERDUE).read_text())
    services.registry.put(document)
    document["spec"]["rules"] = document["spec"]["rules"][:1]
    services.registry.put(document)
    services.router.simulation = router_pb2.SimulateRunResponse(
        outcome="decided", decision=decided()
    )
    name = "billing.overdue-invoices"
    for words in ((), ("--version", "v2"), ("--version", "1")):
        assert backbone("simulate", name, *words, *DUE).exit_code == 0
    asked = [json.loads(one.trigger)["definition_version"] for one in services.router.simulated]
    assert asked == [2, 2, 1]
    rules = [len(definitions.load(one.definition).spec.rules) for one in services.router.simulated]
    assert rules == [1, 1, 2]
    context = stack / "context.json"
    context.write_text('{"overdue": []}')
    paper = backbone("simulate", name, "--at", DUE[1], "--context", str(context))
    assert (paper.exit_code, len(services.router.simulated)) == (0, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*DUE, "--context", "c.json", "-f", OVERDUE), "either --online or --context FILE"),
        (DUE, "either the ID of a definition or -f FILE"),
        ((*DUE, "-f", OVERDUE, "billing.x"), "either the ID of a definition or -f FILE"),
        ((*DUE, "-f", OVERDUE, "--version", "v1"), "--version is of a definition that is applied"),
        ((*DUE, "-f", OVERDUE, "--state", "s.json"), "is not stateful: it has no --state"),
        ((*DUE, "-f", OVERDUE, "-n", "prod"), "in namespace dev, not in prod"),
    ],
)
def test_bad_input_is_told_in_a_sentence(
    backbone: Any, stack: Path, words: tuple[str, ...], said: str
) -> None:
    result = backbone("simulate", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
