"""The docstring of `sdk.schedules`, carried out."""

from datetime import UTC, datetime, timedelta

from sdk import schedules


def test_a_rehearsal_is_moved_by_hand() -> None:
    definition = schedules.ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "billing.hourly", "namespace": "dev", "owner": "billing"},
            "spec": {
                "taskQueue": "billing-tq",
                "triggers": [
                    {
                        "name": "hourly",
                        "schedule": {
                            "every": "1h",
                            "missedRuns": {"policy": "compress", "window": "24h"},
                        },
                    }
                ],
                "rules": [
                    {
                        "name": "r",
                        "task": {"type": "automated", "handler": "h", "taskQueue": "a-tq"},
                    }
                ],
            },
        }
    )
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    rehearsal = schedules.Rehearsal(definition, at=monday)
    rehearsal.fall_asleep()
    rehearsal.pass_until(monday + timedelta(hours=3))
    rehearsal.wake()
    assert [one.row.outcome for one in rehearsal.happened] == ["coalesced", "coalesced", "run"]
