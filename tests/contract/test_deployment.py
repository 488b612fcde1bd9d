"""Policies of what is deployed: each base by itself, each overlay alone and with its extras."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
import rendering
import yaml
from opentelemetry.sdk import environment_variables

from devstack import manifests
from devstack.tools import auditing

ROOT = Path(__file__).parents[2]
KUSTOMIZE = ROOT / manifests.FOLDER
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/Dockerfile"))
BASES = manifests.bases(ROOT)
LAYERS = [str(layer) for layer in manifests.layers(ROOT)]
EVERYTHING = [*(f"base/{name}" for name in BASES), *LAYERS]
FOREIGN_IMAGES = {"postgres": "18."}
"""Images that are not built here, with what their tags begin with."""
OWNERS = {
    "bitnami.com": "sealed-secrets",
    "cert-manager.io": "cert-manager",
    "external-secrets.io": "external-secrets",
    "generators.external-secrets.io": "external-secrets",
    "kafka.strimzi.io": "kafka-strimzi",
    "keda.sh": "keda",
    "monitoring.coreos.com": "prometheus-operator",
}
"""The component of each API group that a cluster has only where somebody has installed it."""
OPENTELEMETRY = {one for one in vars(environment_variables) if one.startswith("OTEL_")}
"""Variables that the SDK of OpenTelemetry reads by itself, wherever it is used."""
VALIDATE = """
import json, sys
import kubernetes_validate
for document in json.load(sys.stdin):
    kubernetes_validate.validate(document, "1.34", strict=True)
"""
anything = pytest.mark.parametrize("name", EVERYTHING)


def rendered(name):
    kind, _, base = name.partition("/")
    if kind == "base":
        return rendering.base(base)
    overlay, *extras = name.split("+")
    return rendering.layer(manifests.Layer(overlay, tuple(extras)))


def of_kind(name, *kinds):
    return [document for document in rendered(name) if document["kind"] in kinds]


def pods(name):
    for document in of_kind(name, "Deployment", "Job", "CronJob"):
        spec = document["spec"]
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        yield document, spec["template"]["spec"]


def containers(name):
    for document, pod in pods(name):
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield document, pod, container


def variables(name, container):
    """Return what a container is told by its environment; what is named later wins."""
    configured = {one["metadata"]["name"]: one["data"] for one in of_kind(name, "ConfigMap")}
    found = {}
    for source in container.get("envFrom", ()):
        found |= configured[source["configMapRef"]["name"]]
    return found | {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}


def service_of(container):
    repository, _, _ = container["image"].partition(":")
    owner, _, service = repository.partition("/")
    return service if owner == "backbone" else None


def group_of(document):
    group, _, version = document["apiVersion"].partition("/")
    return group if version and "." in group and not group.endswith(".k8s.io") else None


@pytest.fixture
def settings(monkeypatch):
    """Return a function that reads a service's settings from nothing but some variables."""

    def read(service, told):
        for variable in [one for one in os.environ if one.startswith("BACKBONE_")]:
            monkeypatch.delenv(variable)
        for variable, value in told.items():
            monkeypatch.setenv(variable, value)
        return classes(service)()

    return read


def classes(service):
    return importlib.import_module(f"{service.replace('-', '_')}.settings").Settings


def test_every_extra_is_a_component_and_is_tried():
    assert set(manifests.EXTRAS) <= {path.name for path in KUSTOMIZE.glob("components/*")}
    for extra in manifests.EXTRAS:
        assert [layer for layer in LAYERS if extra in layer.split("+")], extra
    assert {layer.partition("+")[0] for layer in LAYERS} == set(manifests.overlays(ROOT))
    assert BASES == SERVICES


@anything
def test_every_variable_is_a_setting_and_none_that_is_needed_lacks(name, settings):
    seen = 0
    for document, _, container in containers(name):
        if (service := service_of(container)) is None:
            continue
        told = variables(name, container)
        fields = classes(service).model_fields
        known = {f"BACKBONE_{field.upper()}": field for field in fields}
        where = document["metadata"]["name"]
        assert {one for one in told if one not in OPENTELEMETRY} <= set(known), where
        assert {one for one in known if fields[known[one]].is_required()} <= set(told), where
        # And each is a value that the service takes.
        settings(service, told)
        seen += 1
    assert seen


@anything
def test_every_image_is_built_here_or_is_listed_and_none_is_the_latest(name):
    for _, _, container in containers(name):
        image, _, digest = container["image"].partition("@")
        repository, _, tag = image.rpartition(":")
        assert digest or (repository and tag != "latest"), container["image"]
        service = service_of(container)
        if service is None:
            assert tag.startswith(FOREIGN_IMAGES[repository]), container["image"]
        else:
            assert service in SERVICES


@pytest.mark.parametrize("service", BASES)
def test_a_base_names_the_release_that_it_is_of(service):
    project = tomllib.loads((ROOT / f"services/{service}/pyproject.toml").read_text())["project"]
    images = {container["image"] for _, _, container in containers(f"base/{service}")}
    assert images == {f"backbone/{service}:{project['version']}"}


@pytest.mark.parametrize("service", BASES)
def test_a_base_can_be_applied_by_itself(service):
    documents = rendered(f"base/{service}")
    made = {(one["kind"], one["metadata"]["name"]) for one in documents}
    assert not [one for one in documents if group_of(one)]
    assert not [one for one in documents if "namespace" in one["metadata"]]
    for _, pod in pods(f"base/{service}"):
        assert ("ServiceAccount", pod["serviceAccountName"]) in made
        for container in pod["containers"]:
            for source in container["envFrom"]:
                assert ("ConfigMap", source["configMapRef"]["name"]) in made
        for volume in pod["volumes"]:
            # The catalogue is the operator's, as the Secrets are.
            assert volume.get("configMap", {"name": "catalogue"})["name"] == "catalogue"


@anything
def test_a_disruption_budget_keeps_most_replicas_and_never_holds_back_a_drain(name):
    budgets = [one["spec"] for one in of_kind(name, "PodDisruptionBudget")]
    for deployment in of_kind(name, "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        mine = [
            spec
            for spec in budgets
            if set(spec["selector"]["matchLabels"].items()) <= set(labels.items())
        ]
        replicas = deployment["spec"].get("replicas", 2)  # an autoscaler's least
        # Two budgets of one pod make every eviction of it fail.
        assert len(mine) == 1, deployment["metadata"]["name"]
        assert "minAvailable" not in mine[0], "with as many replicas nobody may be evicted"
        assert 1 <= mine[0]["maxUnavailable"] <= max(1, replicas - 1)
        assert mine[0]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert len(budgets) == len(of_kind(name, "Deployment"))


@anything
def test_a_pod_has_longer_to_end_than_its_drain_takes(name, settings):
    for deployment in of_kind(name, "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        told = settings(service_of(container), variables(name, container))
        # Each component of a process has the grace to itself, one after another: what holds the
        # work, and what that needs and is closed behind it.
        drain = 2 * told.shutdown_grace
        given = timedelta(seconds=pod["terminationGracePeriodSeconds"])
        assert given > drain, deployment["metadata"]["name"]


@anything
def test_every_container_says_what_it_needs_and_is_not_root(name):
    for document, pod, container in containers(name):
        where = document["metadata"]["name"]
        needs = container["resources"]
        assert {"cpu", "memory"} <= set(needs["requests"]), where
        # A limit of the processor would throttle the clients' own threads.
        assert set(needs["limits"]) == {"memory"}, where
        assert pod["securityContext"]["runAsNonRoot"] is True, where
        assert pod["securityContext"]["runAsUser"] >= 10_000, where
        assert not {"runAsUser", "runAsNonRoot", "privileged"} & set(container["securityContext"])


@anything
def test_every_server_is_probed_and_spread_over_nodes(name):
    for deployment in of_kind(name, "Deployment"):
        template = deployment["spec"]["template"]
        (container,) = template["spec"]["containers"]
        ports = {port["name"] for port in container["ports"]}
        for probe, path in {"liveness": "livez", "readiness": "readyz", "startup": "livez"}.items():
            asked = container[f"{probe}Probe"]["httpGet"]
            assert asked["path"] == f"/{path}"
            assert asked["port"] in ports
        (spread,) = template["spec"]["topologySpreadConstraints"]
        assert spread["topologyKey"] == "kubernetes.io/hostname"
        labels = template["metadata"]["labels"]
        assert set(spread["labelSelector"]["matchLabels"].items()) <= set(labels.items())


def test_what_a_cluster_may_lack_is_asked_for_by_a_component_of_its_own():
    found = {}
    for file in sorted(KUSTOMIZE.rglob("*.yaml")):
        for document in yaml.load_all(file.read_text(), yaml.CSafeLoader):
            if isinstance(document, dict) and "apiVersion" in document and group_of(document):
                folder = file.relative_to(KUSTOMIZE).parent
                found.setdefault(group_of(document), set()).add(str(folder))
    assert found == {group: {f"components/{owner}"} for group, owner in OWNERS.items()}


def test_kubernetes_knows_every_field():
    documents = {
        json.dumps(document, sort_keys=True): document
        for name in EVERYTHING
        for document in rendered(name)
        if not group_of(document)
    }
    _, environment = auditing.command("kubernetes_validate")
    done = subprocess.run(
        [sys.executable, "-c", VALIDATE],
        input=json.dumps(list(documents.values())),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
