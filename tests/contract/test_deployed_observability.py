"""Traces, metrics, alerts and dashboards on Kubernetes: each along an edge that is listed."""

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import rendering
import yaml

from devstack import manifests, prometheusrule
from devstack.tools import find_prometheus

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "observability"
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/Dockerfile"))
LAYERS = [one for one in manifests.layers(ROOT) if "observability" in one.extras]
ALONE = [one for one in LAYERS if one.extras == ("observability",)]
observed = pytest.mark.parametrize("layer", LAYERS, ids=str)
alone = pytest.mark.parametrize("layer", ALONE, ids=str)
operated = pytest.mark.parametrize(
    "layer", [one for one in LAYERS if "prometheus-operator" in one.extras], ids=str
)


def of_kind(layer, *kinds):
    return [one for one in rendering.layer(layer) if one["kind"] in kinds]


def template(layer, service):
    (found,) = (
        one["spec"]["template"]
        for one in of_kind(layer, "Deployment")
        if one["metadata"]["name"] == service
    )
    return found


def told(layer, service):
    (container,) = template(layer, service)["spec"]["containers"]
    (source,) = container["envFrom"]
    (data,) = (
        one["data"]
        for one in of_kind(layer, "ConfigMap")
        if one["metadata"]["name"] == source["configMapRef"]["name"]
    )
    return data


def ports(layer, service):
    (container,) = template(layer, service)["spec"]["containers"]
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def selects(selector, labels):
    """Say whether a selector of Kubernetes takes something with these labels."""
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    expressions = selector.get("matchExpressions", ())
    assert {one["operator"] for one in expressions} <= {"In"}
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def edges(layer):
    """Return who calls whom by which port, by what each policy selects: (pod, whom, port)."""
    servers = {service: template(layer, service)["metadata"]["labels"] for service in SERVICES}
    found = set()
    for policy in of_kind(layer, "NetworkPolicy"):
        spec = policy["spec"]
        for direction, peers in {"ingress": "from", "egress": "to"}.items():
            for rule in spec.get(direction, ()):
                for service, labels in servers.items():
                    if not selects(spec["podSelector"], labels):
                        continue
                    found |= {
                        (service, direction, str(peer), port["port"])
                        for peer in rule[peers]
                        for port in rule["ports"]
                    }
    return found


@observed
def test_everybody_tells_the_same_collector_and_records_the_same_part(layer):
    said = [told(layer, service) for service in SERVICES]
    (endpoint,) = {one["BACKBONE_OTLP_ENDPOINT"] for one in said}
    (ratio,) = {one["BACKBONE_TRACE_SAMPLE_RATIO"] for one in said}
    assert 0 < float(ratio) < 1
    # Spans name definitions, runs and tasks: nobody reads them on their way.
    assert urlsplit(endpoint).scheme == "https"
    for service, one in zip(SERVICES, said, strict=True):
        (container,) = template(layer, service)["spec"]["containers"]
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        authority = one["OTEL_EXPORTER_OTLP_CERTIFICATE"]
        assert authority == one["BACKBONE_TLS_CLIENT_CA"]
        assert str(Path(authority).parent) in mounted


@alone
def test_what_it_adds_to_the_edges_is_the_collector_and_a_port_for_prometheus(layer):
    monitoring = str(
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    )
    endpoint = urlsplit(told(layer, "ledger")["BACKBONE_OTLP_ENDPOINT"])
    assert endpoint.hostname.split(".")[1] == "monitoring"
    listens = int(
        told(layer, "orchestrator-worker")["BACKBONE_TEMPORAL_METRICS_LISTEN"].rpartition(":")[2]
    )
    assert edges(layer) - edges(manifests.Layer(layer.overlay)) == {
        *((service, "egress", monitoring, endpoint.port) for service in SERVICES),
        ("orchestrator-worker", "ingress", monitoring, listens),
    }


@alone
def test_it_takes_no_edge_away_and_changes_no_selector(layer):
    before = {
        (one["kind"], one["metadata"]["name"]): one
        for one in rendering.layer(manifests.Layer(layer.overlay))
    }
    after = {(one["kind"], one["metadata"]["name"]): one for one in rendering.layer(layer)}
    for (kind, name), document in before.items():
        # A Job names the settings of its service, which are others now.
        if kind not in {"ConfigMap", "Deployment", "Job"}:
            assert after[kind, name] == document
        if kind == "Deployment":
            assert after[kind, name]["spec"]["selector"] == document["spec"]["selector"]


@observed
def test_prometheus_reaches_every_port_that_is_scraped(layer):
    scraped = {("orchestrator-worker", "temporal-sdk"), *((one, "http") for one in SERVICES)}
    for service, port in scraped:
        number = ports(layer, service)[port]
        assert {
            one for one in edges(layer) if one[:2] == (service, "ingress") and one[3] == number
        }, (service, port)
    # And the SDK is where it is looked for.
    listens = told(layer, "orchestrator-worker")["BACKBONE_TEMPORAL_METRICS_LISTEN"]
    assert listens == f"0.0.0.0:{ports(layer, 'orchestrator-worker')['temporal-sdk']}"


@observed
def test_a_plain_prometheus_is_given_alerts_and_scrapes(layer, tmp_path):
    (given,) = (
        one
        for one in of_kind(layer, "ConfigMap")
        if one["metadata"]["name"] == "backbone-prometheus"
    )
    assert given["metadata"]["namespace"] == "monitoring"
    for name, text in given["data"].items():
        (tmp_path / name).write_text(text)
    (tmp_path / "prometheus.yml").write_text(
        yaml.safe_dump({"rule_files": ["alerts.yaml"], "scrape_config_files": ["scrape.yaml"]})
    )
    subprocess.run(
        [find_prometheus().promtool, "check", "config", "prometheus.yml"],
        cwd=tmp_path,
        check=True,
        timeout=60,
    )


@observed
def test_the_labels_that_scrapes_go_by_are_those_of_the_pods(layer):
    scrape = yaml.safe_load((FOLDER / "scrape.yaml").read_text())["scrape_configs"]
    (ours,) = (one for one in scrape if one["job_name"] == "backbone")
    ((discovered,),) = (one["selectors"] for one in ours["kubernetes_sd_configs"])
    assert discovered["label"] == (
        "app.kubernetes.io/part-of=backbone,app.kubernetes.io/component in (server,build)"
    )
    scraped_alike(layer, SAID)


SAID = {
    "matchLabels": {"app.kubernetes.io/part-of": "backbone"},
    "matchExpressions": [
        {"key": "app.kubernetes.io/component", "operator": "In", "values": ["server", "build"]}
    ],
}
"""What `scrape.yaml` says in one line."""


def scraped_alike(layer, selector):
    """Hold a selector to every server and build, and to no pod that ends by itself."""
    for deployment in of_kind(layer, "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert selects(selector, labels)
        # By which alerts and dashboards tell services apart.
        assert labels["app.kubernetes.io/name"] in SERVICES
    for other in of_kind(layer, "Job", "CronJob"):
        spec = other["spec"].get("jobTemplate", other)["spec"]
        assert not selects(selector, spec["template"]["metadata"]["labels"])


def test_scrapes_on_kubernetes_have_the_jobs_of_the_composed_suite():
    composed = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    scrape = yaml.safe_load((FOLDER / "scrape.yaml").read_text())["scrape_configs"]
    made = {one["job_name"] for one in scrape} - {"backbone"}
    made |= {
        rule["replacement"]
        for one in scrape
        for rule in one["relabel_configs"]
        if rule.get("target_label") == "job" and "replacement" in rule
    }
    assert made | set(SERVICES) == {one["job_name"] for one in composed}


@observed
def test_grafana_s_sidecar_is_given_every_dashboard(layer):
    (given,) = (
        one
        for one in of_kind(layer, "ConfigMap")
        if one["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    )
    assert given["metadata"]["namespace"] == "monitoring"
    written = {path.name: path.read_text() for path in (FOLDER / "dashboards").glob("*.json")}
    assert given["data"] == written
    # More would not be stored.
    assert sum(map(len, given["data"].values())) < 1_000_000


@operated
def test_the_operator_scrapes_the_same_pods_and_ports(layer):
    (monitor,) = of_kind(layer, "PodMonitor")
    spec = monitor["spec"]
    scraped_alike(layer, spec["selector"])
    assert spec["jobLabel"] == "app.kubernetes.io/name"
    known = {name for service in SERVICES for name in ports(layer, service)}
    scraped = [one["port"] for one in spec["podMetricsEndpoints"]]
    assert scraped == ["http", "temporal-sdk"]
    assert set(scraped) <= known
    (deployment,) = {one["metadata"]["namespace"] for one in of_kind(layer, "Deployment")}
    assert monitor["metadata"]["namespace"] == deployment


@operated
def test_the_operator_is_given_the_alerts(layer):
    (rule,) = of_kind(layer, "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((FOLDER / "alerts.yaml").read_text())


def test_the_rule_of_the_operator_is_written_anew():
    assert (ROOT / prometheusrule.FILE).read_text() == prometheusrule.rendered(ROOT), (
        "run `make dashboards`"
    )
