"""A decider among fakes, for what decides runs and what looks at the world for them."""

from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator_worker.service.lookout import Lookout
from orchestrator_worker.service.runs import Decider

KEY = b"0123456789abcdef0123456789abcdef"


@dataclass
class World:
    """A decider among fakes that keep what it did to them."""

    definitions: Any
    context: Any
    ledger: Any
    decider: Decider
    sensitive_values: Any


@pytest.fixture
def world(
    definitions: Any, context: Any, ledger: Any, instances: Any, sensitive_values: Any
) -> World:
    decider = Decider(
        definitions=definitions,
        lookout=Lookout(context=context, ledger=ledger, redaction_key=KEY),
        ledger=ledger,
        instances=instances,
        sensitive_values=sensitive_values,
        cached_definitions=2,
    )
    return World(
        definitions=definitions,
        context=context,
        ledger=ledger,
        decider=decider,
        sensitive_values=sensitive_values,
    )
