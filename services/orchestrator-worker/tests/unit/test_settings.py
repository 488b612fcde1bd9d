from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator_worker.settings import Settings

NEIGHBOURS: dict[str, Any] = {
    "temporal_address": "t:1",
    "ledger_address": "l:1",
    "registry_address": "r:1",
    "namespaces": ("dev", "prod"),
}


def test_a_queue_is_served_in_every_namespace_or_in_the_one_it_is_named_with() -> None:
    settings = Settings(**NEIGHBOURS, task_queues=("billing-tq", "prod/mail-tq"))
    assert settings.served == [("dev", "billing-tq"), ("prod", "billing-tq"), ("prod", "mail-tq")]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"task_queues": ("billing",)}, "pattern"),
        ({"task_queues": ("prod/eu/billing-tq",)}, "pattern"),
        ({"task_queues": ("stage/billing-tq",)}, "stage, which BACKBONE_NAMESPACES does not list"),
        ({"task_queues": ("billing-tq", "prod/billing-tq")}, "prod/billing-tq twice"),
        ({"task_queues": ("prod/backbone-tick-tq",)}, "served by BACKBONE_SERVE_TICKS"),
        ({"graceful_shutdown": "PT20S"}, "shorter than BACKBONE_SHUTDOWN_GRACE"),
        ({"max_workflow_tasks": 1}, "greater than or equal to 2"),
    ],
)
def test_what_cannot_be_served_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings(**NEIGHBOURS, **wrong)
