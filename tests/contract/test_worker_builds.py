"""A Deployment for each task queue and build: beside each other, each with its own pods."""

import inspect
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import rendering
import runbooks
import yaml

from devstack import manifests
from orchestrator_worker import app
from orchestrator_worker.settings import Settings

ROOT = Path(__file__).parents[2]
COMPONENT = Path("components/worker-builds")
LAYERS = [one for one in manifests.layers(ROOT) if "worker-builds" in one.extras]
each_layer = pytest.mark.parametrize("layer", LAYERS, ids=str)


def builds(documents):
    """Return the Deployments of builds."""
    return [
        one
        for one in documents
        if one["kind"] == "Deployment"
        and one["metadata"]["labels"].get("app.kubernetes.io/component") == "build"
    ]


def told(documents, deployment):
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    configured = {
        one["metadata"]["name"]: one["data"] for one in documents if one["kind"] == "ConfigMap"
    }
    found = {}
    for source in container["envFrom"]:
        found |= configured[source["configMapRef"]["name"]]
    return found


def held_to_what_it_says(documents, deployment):
    """What names a build and a queue says the same everywhere in its manifests."""
    variables = told(documents, deployment)
    labels = deployment["metadata"]["labels"]
    build, queue = labels["backbone/build"], labels["backbone/task-queue"]
    assert variables["BACKBONE_BUILD_ID"] == build
    assert json.loads(variables["BACKBONE_TASK_QUEUES"]) == [queue]
    # The current version is chosen for all queues of a deployment at once: a queue is one.
    assert variables["BACKBONE_DEPLOYMENT_NAME"] == queue
    assert variables["BACKBONE_WORKER_VERSIONING"] == "true"
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"].rpartition(":")[2] == build
    suffix = f"-{queue.removesuffix('-tq')}-{re.sub(r'[^a-z0-9]', '-', build)}"
    assert deployment["metadata"]["name"] == f"orchestrator-worker{suffix}"


@each_layer
def test_a_build_says_the_same_of_itself_everywhere(layer):
    documents = rendering.layer(layer)
    found = builds(documents)
    assert found
    for deployment in found:
        held_to_what_it_says(documents, deployment)


@each_layer
def test_a_build_serves_no_queue_of_backbone_s_own(layer):
    documents = rendering.layer(layer)
    for deployment in builds(documents):
        variables = told(documents, deployment)
        assert {variables[f"BACKBONE_SERVE_{one}"] for one in OWN} == {"false"}


OWN = {name.removeprefix("serve_").upper() for name in Settings.model_fields if "serve_" in name}


@each_layer
def test_a_build_is_told_all_that_the_installation_tells_its_workers(layer):
    documents = rendering.layer(layer)
    (worker,) = (
        one
        for one in documents
        if one["kind"] == "Deployment" and one["metadata"]["name"] == "orchestrator-worker"
    )
    for deployment in builds(documents):
        own = {f"BACKBONE_SERVE_{name}" for name in OWN} | {"BACKBONE_TASK_QUEUES"}
        installed, mine = told(documents, worker), told(documents, deployment)
        assert {name: mine[name] for name in set(installed) - own} == {
            name: value for name, value in installed.items() if name not in own
        }
        assert deployment["metadata"]["namespace"] == worker["metadata"]["namespace"]
        assert (
            deployment["spec"]["template"]["spec"]["volumes"]
            == worker["spec"]["template"]["spec"]["volumes"]
        )


@each_layer
def test_an_autoscaler_of_others_leaves_its_number_of_replicas(layer):
    for deployment in builds(rendering.layer(layer)):
        assert deployment["spec"]["replicas"] == 2


@pytest.fixture
def two(tmp_path):
    """The manifests of prod with two builds of one queue: made as the runbook says."""
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / manifests.FOLDER, clone / manifests.FOLDER)
    shutil.copytree(ROOT / "deploy/observability", clone / "deploy/observability")
    component = clone / manifests.FOLDER / COMPONENT
    performed(component, "cp ", "sed ", until="kubectl apply")
    text = manifests.layer(clone, manifests.Layer("prod", ("worker-builds", "observability")))
    return [one for one in yaml.safe_load_all(text) if one]


def performed(folder, *programs, until=None):
    """Perform the commands of the runbook that change manifests, in a folder of them."""
    steps = runbooks.commands("replace-a-build")
    if until:
        (end,) = (number for number, step in enumerate(steps) if step.startswith(until))
        steps = steps[:end]
    done = [step for step in steps if step.startswith(programs)]
    assert done
    for step in done:
        subprocess.run(shlex.split(step), cwd=folder, check=True, timeout=30)


def test_the_runbook_takes_away_what_it_has_drained(tmp_path):
    folder = shutil.copytree(ROOT / manifests.FOLDER / COMPONENT, tmp_path / "builds")
    performed(folder, "cp ", "sed ", "rm ")
    assert sorted(path.name for path in folder.iterdir()) == [
        "billing-0.2.0",
        "kustomization.yaml",
    ]
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert listed == ["billing-0.2.0"]


def test_the_runbook_names_deployments_labels_and_commands_that_are_there(two):
    for step in runbooks.commands("replace-a-build"):
        for name in re.findall(r"deployment/(\S+)", step):
            assert name in {one["metadata"]["name"] for one in builds(two)}
        for word in re.findall(r"python -m orchestrator_worker (\w+)", step):
            assert inspect.iscoroutinefunction(getattr(app, word))
        for selector in re.findall(r"--selector (\S+)", step):
            wanted = dict(pair.split("=") for pair in selector.split(","))
            kinds = [one["kind"] for one in two if wanted.items() <= labels(one).items()]
            assert sorted(kinds) == ["ConfigMap", "Deployment", "PodDisruptionBudget"]


def labels(document):
    return document["metadata"].get("labels", {})


def test_two_builds_of_a_queue_stand_beside_each_other(two):
    found = builds(two)
    assert sorted(one["metadata"]["labels"]["backbone/build"] for one in found) == [
        "0.1.0",
        "0.2.0",
    ]
    for deployment in found:
        held_to_what_it_says(two, deployment)


def test_each_pod_is_of_one_deployment_and_of_one_disruption_budget(two):
    for kind in ("Deployment", "PodDisruptionBudget"):
        selectors = [
            one["spec"]["selector"]["matchLabels"].items() for one in two if one["kind"] == kind
        ]
        for deployment in (one for one in two if one["kind"] == "Deployment"):
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            assert len([one for one in selectors if one <= labels.items()]) == 1, kind


def test_the_edges_of_a_build_are_those_of_every_worker(two):
    policies = [one["spec"]["podSelector"] for one in two if one["kind"] == "NetworkPolicy"]
    workers = [
        one["spec"]["template"]["metadata"]["labels"]
        for one in two
        if one["kind"] == "Deployment"
        and one["metadata"]["labels"].get("app.kubernetes.io/part-of") == "backbone"
        and one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
        == "orchestrator-worker"
    ]
    assert len(workers) == 3

    def taken(labels):
        return [
            policy
            for policy in policies
            if policy.get("matchLabels", {}).items() <= labels.items()
            and all(
                labels.get(one["key"]) in one["values"]
                for one in policy.get("matchExpressions", ())
            )
        ]

    assert taken(workers[0]) == taken(workers[1]) == taken(workers[2])


def test_what_is_taken_away_is_the_build_and_nothing_else(two):
    """Without the folder the rest is as it was: a drained build goes without touching others."""
    kept = {
        (one["kind"], one["metadata"]["name"])
        for one in rendering.layer(manifests.Layer("prod", ("observability",)))
    }
    with_both = {(one["kind"], one["metadata"]["name"]) for one in two}
    assert kept <= with_both
    assert {kind for kind, _ in with_both - kept} == {
        "ConfigMap",
        "Deployment",
        "PodDisruptionBudget",
    }
    assert all("-billing-0-" in name for _, name in with_both - kept)
