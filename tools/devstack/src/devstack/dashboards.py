"""Grafana dashboards, written from what the services measure: names are those of the contract.

A dashboard is a list of panels, a panel a title and its queries. `make dashboards` writes them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from contracts.telemetry import Metric

FOLDER = Path("deploy") / "observability" / "dashboards"

Unit = Literal["short", "s", "reqps", "bytes"]
_WIDTH, _HEIGHT, _COLUMNS = 12, 8, 24
_SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Query:
    """PromQL, and how each of its series is called.

    `quiet` says why there is no series on a healthy stack; empty where there always is one.
    """

    promql: str
    legend: str
    quiet: str = ""


@dataclass(frozen=True)
class Panel:
    """One graph."""

    title: str
    queries: Sequence[Query]
    unit: Unit = "short"
    description: str = ""


@dataclass(frozen=True)
class Dashboard:
    """One page; `uid` is its file's name, too."""

    uid: str
    title: str
    panels: Sequence[Panel]


def _name(metric: Metric) -> str:
    return metric.replace(".", "_")


def _total(metric: Metric) -> str:
    return f"{_name(metric)}_total"


def _rate(name: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) (rate({name}[$__rate_interval]))"


def _quantile(name: str, *by: str, quantile: float = 0.99) -> str:
    buckets = f"rate({name}_bucket[$__rate_interval])"
    return f"histogram_quantile({quantile}, sum by ({', '.join(('le', *by))}) ({buckets}))"


def _seconds(metric: Metric) -> str:
    return f"{_name(metric)}_seconds"


def _most(name: str, *by: str) -> str:
    return f"max by ({', '.join(by)}) ({name})"


_NAMESPACE = "backbone_namespace"
_OUTCOME = "backbone_outcome"
_DEFINITION = "backbone_definition_id"
_QUEUE = ("backbone_task_queue", "backbone_task_queue_kind")

_NO_DEAD_LETTERS = "nothing was refused"
_NO_FAILURES = "no workflow task failed"
_NO_SCHEDULES = "no definition has a schedule that fell due"

DASHBOARDS = (
    Dashboard(
        "backbone-overview",
        "Backbone: overview",
        [
            Panel("Processes that are scraped", [Query("sum by (job) (up)", "{{job}}")]),
            Panel(
                "Events, by what became of them",
                [Query(_rate(_total(Metric.ROUTER_RECORDS), _OUTCOME), "{{backbone_outcome}}")],
                "reqps",
            ),
            Panel(
                "Runs",
                [Query(_rate(_total(Metric.LEDGER_RUNS), _OUTCOME), "{{backbone_outcome}}")],
                "reqps",
            ),
            Panel(
                "Tasks closed",
                [Query(_rate(_total(Metric.LEDGER_TASKS), _OUTCOME), "{{backbone_outcome}}")],
                "reqps",
            ),
            Panel(
                "Event loops: delay, 99th percentile",
                [Query(_quantile(_seconds(Metric.EVENT_LOOP_DELAY), "job"), "{{job}}")],
                "s",
                "A stalled loop is late with everything that its process does.",
            ),
            Panel(
                "Waits for a connection to PostgreSQL, 99th percentile",
                [Query(_quantile(_seconds(Metric.POOL_WAIT), "job"), "{{job}}")],
                "s",
            ),
            Panel(
                "RPCs: time to answer, 99th percentile",
                [Query(_quantile(_seconds(Metric.RPC_SERVER_DURATION), "job"), "{{job}}")],
                "s",
            ),
            Panel(
                "Certificates: time left",
                [
                    Query(
                        f"min by (job) ({_seconds(Metric.CERTIFICATE_REMAINING)})",
                        "{{job}}",
                        quiet="a stack without certificates",
                    )
                ],
                "s",
            ),
        ],
    ),
    Dashboard(
        "backbone-router",
        "Backbone: router",
        [
            Panel(
                "Records behind",
                [
                    Query(
                        f"sum by (messaging_destination_name) ({_name(Metric.ROUTER_LAG)})",
                        "{{messaging_destination_name}}",
                    )
                ],
                description="Records without a durable outcome yet, by topic.",
            ),
            Panel(
                "Time to route a record, 99th percentile",
                [
                    Query(
                        _quantile(_seconds(Metric.ROUTER_ROUTE_DURATION), _OUTCOME),
                        "{{backbone_outcome}}",
                    )
                ],
                "s",
            ),
            Panel(
                "Decisions by definition and outcome",
                [
                    Query(
                        _rate(_total(Metric.ROUTER_CANDIDATES), _DEFINITION, _OUTCOME),
                        "{{backbone_definition_id}}: {{backbone_outcome}}",
                    )
                ],
                "reqps",
            ),
            Panel(
                "Dead letters by reason",
                [
                    Query(
                        _rate(_total(Metric.ROUTER_DEAD_LETTERS), "backbone_reason"),
                        "{{backbone_reason}}",
                        quiet=_NO_DEAD_LETTERS,
                    )
                ],
                "reqps",
            ),
            Panel(
                "Partitions that rest",
                [
                    Query(
                        _rate(_total(Metric.ROUTER_HOLDS), _NAMESPACE),
                        "{{backbone_namespace}}",
                        quiet="no neighbour was away",
                    )
                ],
                "reqps",
            ),
            Panel(
                "Starts that had waited",
                [
                    Query(
                        _rate(_total(Metric.ROUTER_DISPATCHED), "backbone_reason", _OUTCOME),
                        "{{backbone_reason}}: {{backbone_outcome}}",
                        quiet="nothing waited",
                    )
                ],
                "reqps",
            ),
        ],
    ),
    Dashboard(
        "backbone-runs",
        "Backbone: runs and tasks",
        [
            Panel(
                "Runs by definition",
                [
                    Query(
                        _rate(_total(Metric.LEDGER_RUNS), _DEFINITION), "{{backbone_definition_id}}"
                    )
                ],
                "reqps",
            ),
            Panel(
                "Tasks closed by definition, handler and outcome",
                [
                    Query(
                        _rate(
                            f'{_total(Metric.LEDGER_TASKS)}{{backbone_handler!=""}}',
                            _DEFINITION,
                            "backbone_handler",
                            _OUTCOME,
                        ),
                        "{{backbone_definition_id}}: {{backbone_handler}}: {{backbone_outcome}}",
                    )
                ],
                "reqps",
                "By the ledger: also of handlers that another SDK of Temporal serves.",
            ),
            Panel(
                "Attempts of handlers by outcome",
                [
                    Query(
                        _rate(
                            f"{_seconds(Metric.HANDLER_ATTEMPT_DURATION)}_count",
                            "backbone_handler",
                            _OUTCOME,
                        ),
                        "{{backbone_handler}}: {{backbone_outcome}}",
                    )
                ],
                "reqps",
                "What ended `retryable` is tried again as the task's retries allow.",
            ),
            Panel(
                "Time of an attempt by definition and handler, 99th percentile",
                [
                    Query(
                        _quantile(
                            _seconds(Metric.HANDLER_ATTEMPT_DURATION),
                            _DEFINITION,
                            "backbone_handler",
                        ),
                        "{{backbone_definition_id}}: {{backbone_handler}}",
                    )
                ],
                "s",
            ),
            Panel(
                "Tasks that wait on a task queue",
                [
                    Query(
                        _most(_name(Metric.TASK_QUEUE_BACKLOG), *_QUEUE),
                        "{{backbone_task_queue}} ({{backbone_task_queue_kind}})",
                    )
                ],
            ),
            Panel(
                "Age of the oldest task on a task queue",
                [
                    Query(
                        _most(_seconds(Metric.TASK_QUEUE_AGE), *_QUEUE),
                        "{{backbone_task_queue}} ({{backbone_task_queue_kind}})",
                    )
                ],
                "s",
            ),
            Panel(
                "Workers that poll a task queue",
                [
                    Query(
                        _most(_name(Metric.TASK_QUEUE_POLLERS), *_QUEUE),
                        "{{backbone_task_queue}} ({{backbone_task_queue_kind}})",
                    )
                ],
            ),
            Panel(
                "Open human tasks by age",
                [
                    Query(
                        _most(_name(Metric.LEDGER_OPEN_HUMAN_TASKS), _NAMESPACE, "backbone_age"),
                        "{{backbone_namespace}}: {{backbone_age}}",
                    )
                ],
            ),
            Panel(
                "Events that wait for a stateful instance",
                [
                    Query(
                        _most(_name(Metric.LEDGER_INSTANCE_EVENTS_WAITING), _NAMESPACE),
                        "{{backbone_namespace}}",
                    )
                ],
            ),
        ],
    ),
    Dashboard(
        "backbone-schedules",
        "Backbone: schedules",
        [
            Panel(
                "Due times by outcome",
                [
                    Query(
                        _rate(_total(Metric.LEDGER_DUE_TIMES), _OUTCOME),
                        "{{backbone_outcome}}",
                        quiet=_NO_SCHEDULES,
                    )
                ],
                "reqps",
            ),
            Panel(
                "Lateness of due times, 99th percentile",
                [
                    Query(
                        _quantile(_seconds(Metric.LEDGER_DUE_TIME_LATENESS), _OUTCOME),
                        "{{backbone_outcome}}",
                        quiet=_NO_SCHEDULES,
                    )
                ],
                "s",
            ),
            Panel(
                "Definitions with a due time that nobody accounted for",
                [
                    Query(
                        _most(_name(Metric.LEDGER_OVERDUE_SCHEDULES), _NAMESPACE),
                        "{{backbone_namespace}}",
                    )
                ],
            ),
            Panel(
                "Reconciler: definitions still to look at",
                [
                    Query(
                        _most(_name(Metric.REGISTRY_RECONCILER_PENDING), _NAMESPACE),
                        "{{backbone_namespace}}",
                    )
                ],
            ),
            Panel(
                "Reconciler: age of the oldest change",
                [
                    Query(
                        _most(_seconds(Metric.REGISTRY_RECONCILER_LAG), _NAMESPACE),
                        "{{backbone_namespace}}",
                    )
                ],
                "s",
            ),
            Panel(
                "Replicas that lead",
                [
                    Query(
                        f"sum by ({_NAMESPACE}) ({_name(Metric.REGISTRY_RECONCILER_LEADS)})",
                        "{{backbone_namespace}}",
                    )
                ],
            ),
        ],
    ),
    Dashboard(
        "backbone-relay",
        "Backbone: outbox relay",
        [
            Panel(
                "Events that wait in an outbox",
                [
                    Query(
                        _most(_name(Metric.OUTBOX_PENDING), "backbone_outbox"),
                        "{{backbone_outbox}}",
                    )
                ],
            ),
            Panel(
                "Age of the oldest of them",
                [
                    Query(
                        _most(_seconds(Metric.OUTBOX_LAG), "backbone_outbox"), "{{backbone_outbox}}"
                    )
                ],
                "s",
            ),
            Panel(
                "Published",
                [
                    Query(
                        _rate(_total(Metric.RELAY_PUBLISHED), "backbone_outbox"),
                        "{{backbone_outbox}}",
                    )
                ],
                "reqps",
            ),
            Panel(
                "From sending to acknowledgement, 99th percentile",
                [
                    Query(
                        _quantile(_seconds(Metric.RELAY_BATCH_DURATION), "backbone_outbox"),
                        "{{backbone_outbox}}",
                    )
                ],
                "s",
            ),
            Panel(
                "Events that the broker refuses",
                [
                    Query(
                        _most(_name(Metric.OUTBOX_PARKED), "backbone_outbox"), "{{backbone_outbox}}"
                    )
                ],
            ),
            Panel(
                "Shards that are led",
                [
                    Query(
                        f"sum by (backbone_outbox) ({_name(Metric.RELAY_SHARDS)})",
                        "{{backbone_outbox}}",
                    )
                ],
            ),
        ],
    ),
    Dashboard(
        "backbone-temporal",
        "Backbone: Temporal",
        [
            Panel(
                "Server: requests by operation",
                [Query(_rate("service_requests", "operation"), "{{operation}}")],
                "reqps",
            ),
            Panel(
                "Server: time of calls of its database, 99th percentile",
                [Query(_quantile("persistence_latency", "operation"), "{{operation}}")],
                "s",
            ),
            Panel(
                "Workers: workflows completed",
                [
                    Query(
                        _rate("temporal_workflow_completed_total", "workflow_type"),
                        "{{workflow_type}}",
                    )
                ],
                "reqps",
            ),
            Panel(
                "Workers: workflow tasks that failed",
                [
                    Query(
                        _rate(
                            "temporal_workflow_task_execution_failed_total",
                            "workflow_type",
                            "failure_reason",
                        ),
                        "{{workflow_type}}: {{failure_reason}}",
                        quiet=_NO_FAILURES,
                    )
                ],
                "reqps",
            ),
            Panel(
                "Workers: workflow tasks, from scheduled to begun, 99th percentile",
                [
                    Query(
                        _quantile(
                            "temporal_workflow_task_schedule_to_start_latency_seconds", "task_queue"
                        ),
                        "{{task_queue}}",
                    )
                ],
                "s",
            ),
            Panel(
                "Workers: free slots",
                [
                    Query(
                        "min by (task_queue, worker_type) (temporal_worker_task_slots_available)",
                        "{{task_queue}} ({{worker_type}})",
                    )
                ],
            ),
        ],
    ),
)


def rendered(dashboard: Dashboard) -> str:
    """Return the JSON that Grafana imports; the data source is chosen there."""
    document = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["backbone"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "type": "datasource", "query": "prometheus", "label": "Source"}
            ]
        },
        "panels": [_panel(number, one) for number, one in enumerate(dashboard.panels)],
    }
    return json.dumps(document, indent=2) + "\n"


def files() -> Mapping[str, str]:
    """Return what is in each file of the folder, by its name."""
    return {f"{one.uid}.json": rendered(one) for one in DASHBOARDS}


def write(root: Path) -> list[Path]:
    """Write the files of the clone `root` anew, and remove those of no dashboard."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("*.json"):
        leftover.unlink()
    written = []
    for name, text in files().items():
        (folder / name).write_text(text)
        written.append(folder / name)
    return written


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, _COLUMNS // _WIDTH)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": row * _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query.promql,
                "legendFormat": query.legend,
            }
            for index, query in enumerate(panel.queries)
        ],
    }
