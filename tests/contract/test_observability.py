"""Dashboards are what the code says; alerts fire when they should, and each has a runbook."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from contracts.telemetry import Metric
from devstack import dashboards, tools

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "observability"
ALERTS = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
OTHERS = {
    # Of Temporal's SDK, which the workers offer, and of its server.
    "temporal_workflow_task_execution_failed_total",
    "persistence_latency_bucket",
}
_SUFFIX = re.compile(r"(_seconds)?(_total|_bucket|_count|_sum)?$")
_LABELS = re.compile(r"\bby\s*\([^)]*\)|\{[^}]*\}")
_NAME = re.compile(r"\b[a-z]+_[a-z_]+\b(?=\s*[\[)><=]|$)")
each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])


def test_the_dashboards_are_those_of_the_code():
    written = {path.name: path.read_text() for path in (FOLDER / "dashboards").glob("*.json")}
    assert written == dashboards.files(), "run `make dashboards`"


def test_dashboards_are_told_apart_and_so_are_panels():
    assert len({one.uid for one in dashboards.DASHBOARDS}) == len(dashboards.DASHBOARDS)
    for dashboard in dashboards.DASHBOARDS:
        titles = [panel.title for panel in dashboard.panels]
        assert len(set(titles)) == len(titles)


def promtool(*words):
    done = subprocess.run(
        [str(tools.find_prometheus().promtool), *words],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_alerts():
    promtool("check", "rules", "alerts.yaml")


def test_alerts_fire_when_they_should_and_are_silent_otherwise():
    promtool("test", "rules", "alerts.test.yaml")


@each_alert
def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(alert):
    fires, silent = [], []
    for case in yaml.safe_load((FOLDER / "alerts.test.yaml").read_text())["tests"]:
        asked = [one for one in case["alert_rule_test"] if one["alertname"] == alert["alert"]]
        fires += [one for one in asked if one["exp_alerts"]]
        # Either a time at which it is silent, or a series beside the one that it fires for.
        silent += [one for one in asked if not one["exp_alerts"]]
        silent += [one for one in asked if len(case["input_series"]) > len(one["exp_alerts"])]
    assert fires
    assert silent


@each_alert
def test_each_alert_says_how_bad_it_is_what_it_means_and_what_to_do(alert):
    assert alert["labels"]["severity"] in {"warning", "critical"}
    told = alert["annotations"]
    assert told["summary"]
    assert told["description"]
    assert told["runbook_url"] == f"docs/runbooks/{alert['alert']}.md"
    runbook = (ROOT / told["runbook_url"]).read_text()
    assert runbook.startswith(f"# {alert['alert']}\n")
    assert "## See the cause" in runbook
    assert "## What to do" in runbook


@each_alert
def test_each_metric_of_an_alert_is_one_that_is_measured(alert):
    ours = {metric.replace(".", "_") for metric in Metric}
    named = set(_NAME.findall(_LABELS.sub("", alert["expr"])))
    assert named
    unknown = {name for name in named - OTHERS if _SUFFIX.sub("", name) not in ours}
    assert not unknown


def test_each_runbook_is_of_an_alert():
    # The others are of what happens, and are performed by tests/e2e/test_runbooks.py.
    pages = {path.stem for path in (ROOT / "docs" / "runbooks").glob("[A-Z]*.md")} - {"README"}
    assert pages == {alert["alert"] for alert in ALERTS}


@pytest.mark.parametrize("metric", Metric, ids=lambda metric: metric.name)
def test_each_metric_is_told_of(metric):
    assert f"`{metric}`" in (ROOT / "docs" / "metrics.md").read_text()
