"""What sets the number of replicas: it looks at what the services really serve."""

import json
from pathlib import Path

import pytest
import rendering

from contracts import names
from devstack import manifests

ROOT = Path(__file__).parents[2]
LAYERS = [layer for layer in manifests.layers(ROOT) if {"keda", "hpa"} & set(layer.extras)]
SCALED = {"router", "orchestrator-worker"}
by_backlog = pytest.mark.parametrize(
    "layer", [layer for layer in LAYERS if layer.extras == ("keda",)], ids=str
)


def rendered(layer):
    return {(one["kind"], one["metadata"]["name"]): one for one in rendering.layer(layer)}


def told(layer, service):
    (data,) = (
        one["data"]
        for (kind, name), one in rendered(layer).items()
        if kind == "ConfigMap" and name.rpartition("-")[0] == service
    )
    return {
        variable.removeprefix("BACKBONE_"): json.loads(value) if value[0] in "[{" else value
        for variable, value in data.items()
    }


def triggers(layer, service):
    return rendered(layer)["ScaledObject", service]["spec"]["triggers"]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_one_autoscaler_counts_and_no_manifest_sets_its_number_back(layer):
    kind = "ScaledObject" if "keda" in layer.extras else "HorizontalPodAutoscaler"
    found = [one for (of, _), one in rendered(layer).items() if of == kind]
    assert sorted(one["spec"]["scaleTargetRef"]["name"] for one in found) == sorted(SCALED)
    for one in found:
        service = one["spec"]["scaleTargetRef"]["name"]
        deployment = rendered(layer)["Deployment", service]
        assert "replicas" not in deployment["spec"]
        assert one["metadata"]["namespace"] == deployment["metadata"]["namespace"]
        least = one["spec"].get("minReplicas", one["spec"].get("minReplicaCount"))
        assert least >= 2, "one replica is none while a node is emptied"
    others = {name for (of, name) in rendered(layer) if of == "Deployment"} - SCALED
    assert all("replicas" in rendered(layer)["Deployment", name]["spec"] for name in others)


@by_backlog
def test_each_task_queue_that_is_served_is_looked_at(layer):
    worker = told(layer, "orchestrator-worker")
    served = {
        (namespace, queue)
        for namespace in worker["NAMESPACES"]
        for queue in (*worker["TASK_QUEUES"], *names.OWN_TASK_QUEUES)
    }
    found = [one["metadata"] for one in triggers(layer, "orchestrator-worker")]
    assert sorted((one["namespace"], one["taskQueue"]) for one in found) == sorted(served)
    assert {one["endpoint"] for one in found} == {worker["TEMPORAL_ADDRESS"]}
    assert {one["queueTypes"] for one in found} == {"workflow,activity"}


@by_backlog
def test_the_lag_is_that_of_the_routers_group(layer):
    router = told(layer, "router")
    found = [one["metadata"] for one in triggers(layer, "router")]
    assert sorted((one["consumerGroup"], one["topic"]) for one in found) == sorted(
        (names.router_group(topic.partition(".")[0]), topic) for topic in router["TOPICS"]
    )
    assert {one["bootstrapServers"] for one in found} == {router["KAFKA_BOOTSTRAP_SERVERS"]}
    assert {one["tls"] for one in found} == {"enable"}
    assert {one["offsetResetPolicy"] for one in found} == {"earliest"}


@by_backlog
def test_who_asks_shows_what_the_one_shows_whom_it_asks_for(layer):
    for service in SCALED:
        for trigger in triggers(layer, service):
            asked = rendered(layer)["TriggerAuthentication", trigger["authenticationRef"]["name"]]
            certificate = rendered(layer)["Certificate", service]["spec"]["secretName"]
            shown = {
                "cert": (certificate, "tls.crt"),
                "key": (certificate, "tls.key"),
                "ca": (certificate, "ca.crt"),
            }
            if trigger["type"] == "temporal":
                shown["apiKey"] = (f"{service}-temporal", "token")
            secrets = asked["spec"]["secretTargetRef"]
            assert {one["parameter"]: (one["name"], one["key"]) for one in secrets} == shown
