"""The definition language: one meaning has one content."""

import pytest
from pydantic import ValidationError

from contracts import canonical, definitions
from contracts.definitions import ActivityDefinition


def document(**spec):
    return {
        "apiVersion": "backbone/v1",
        "kind": "ActivityDefinition",
        "metadata": {"id": "billing.overdue", "namespace": "dev", "owner": "billing"},
        "spec": {
            "taskQueue": "billing-tq",
            "triggers": [
                {
                    "name": "hourly",
                    "schedule": {
                        "cron": "0 * * * *",
                        "missedRuns": {"policy": "compress", "window": "24h"},
                    },
                }
            ],
            "rules": [
                {
                    "name": "remind",
                    "task": {
                        "type": "automated",
                        "handler": "send_reminder",
                        "taskQueue": "notifications-tq",
                    },
                }
            ],
            **spec,
        },
    }


def load(**spec):
    return ActivityDefinition.model_validate(document(**spec))


def test_content_reads_back_to_the_same_definition():
    definition = load()
    assert definitions.load(definitions.content(definition)) == definition


def test_two_spellings_of_one_meaning_have_one_content():
    spelled = document()
    spelled["spec"]["triggers"][0]["schedule"]["missedRuns"]["window"] = "P1D"
    spelled["spec"] = dict(reversed(spelled["spec"].items()))
    other = ActivityDefinition.model_validate(spelled)
    assert canonical.digest(definitions.content(other)) == canonical.digest(
        definitions.content(load())
    )


def without_missed_runs(spec):
    del spec["triggers"][0]["schedule"]["missedRuns"]


def with_both_cron_and_every(spec):
    spec["triggers"][0]["schedule"]["every"] = "1h"


def with_unknown_field(spec):
    spec["ruls"] = []


def with_for_each_without_key(spec):
    spec["rules"][0]["forEach"] = {"item": "i", "in": "context.x"}


def with_two_rules_of_one_name(spec):
    spec["rules"] = spec["rules"] * 2


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (without_missed_runs, "missedRuns"),
        (with_both_cron_and_every, "exactly one of cron, every and calendars"),
        (with_unknown_field, "ruls"),
        (with_for_each_without_key, "task.key"),
        (with_two_rules_of_one_name, "remind"),
    ],
)
def test_what_is_wrong_is_named(spoil, where):
    spoiled = document()
    spoil(spoiled["spec"])
    with pytest.raises(ValidationError, match=where):
        ActivityDefinition.model_validate(spoiled)
