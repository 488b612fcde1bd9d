"""The alerts as the resource that the Prometheus operator reads: the same rules, once more."""

from pathlib import Path

import yaml

ALERTS = Path("deploy") / "observability" / "alerts.yaml"
FILE = Path("deploy/kustomize/components/prometheus-operator/prometheusrule.yaml")
_HEAD = "# Written by `make dashboards` from deploy/observability/alerts.yaml: change that.\n"


def rendered(root: Path) -> str:
    """Return the PrometheusRule of the clone at `root`, as YAML."""
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "backbone"},
        "spec": yaml.safe_load((root / ALERTS).read_text()),
    }
    return _HEAD + yaml.safe_dump(document, sort_keys=False, width=118)


def write(root: Path) -> Path:
    """Write the file of the clone at `root` anew, and return it."""
    (root / FILE).write_text(rendered(root))
    return root / FILE
