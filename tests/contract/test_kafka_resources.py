"""Kafka's topics and rights, as Strimzi is told: those of the code and of a secure stack."""

import json
from pathlib import Path

import pytest
import rendering
import yaml

from contracts import names
from contracts.names import Topic
from contracts.services import Service
from devstack import manifests
from devstack.infrastructure import access

ROOT = Path(__file__).parents[2]
COMPONENTS = ROOT / manifests.FOLDER / "components"
WEEK_MS = 7 * 24 * 3600 * 1000
with_kafka = pytest.mark.parametrize(
    "layer",
    [layer for layer in manifests.layers(ROOT) if layer.extras == ("kafka-strimzi",)],
    ids=str,
)


def of_kind(layer, kind):
    found = [one for one in rendering.layer(layer) if one["kind"] == kind]
    for one in found:
        # Strimzi looks where its Kafka is, and at what is labelled as that one's.
        assert one["metadata"]["namespace"] == "backbone-data"
        assert one["metadata"]["labels"]["strimzi.io/cluster"] == "kafka"
    return {one["metadata"]["name"]: one["spec"] for one in found}


def told(layer):
    """Return the namespaces of the router, and the topics that it reads."""
    (data,) = (
        one["data"]
        for one in rendering.layer(layer)
        if one["kind"] == "ConfigMap" and one["metadata"]["name"].rpartition("-")[0] == "router"
    )
    return json.loads(data["BACKBONE_NAMESPACES"]), json.loads(data["BACKBONE_TOPICS"])


@with_kafka
def test_every_topic_that_is_read_or_written_is_there_and_no_other(layer):
    namespaces, topics = told(layer)
    own = {names.topic(namespace, topic) for namespace in namespaces for topic in Topic}
    assert set(of_kind(layer, "KafkaTopic")) == own | set(topics)


@with_kafka
def test_no_acknowledged_record_is_lost_with_a_broker_or_compacted(layer):
    for name, spec in of_kind(layer, "KafkaTopic").items():
        config = spec["config"]
        assert config["cleanup.policy"] == "delete", name
        assert 2 <= config["min.insync.replicas"] < spec["replicas"], name
        assert config["retention.ms"] >= WEEK_MS, name


@with_kafka
def test_dead_letters_are_kept_for_longer_than_what_they_are_of(layer):
    namespaces, topics = told(layer)
    kept = {
        name: spec["config"]["retention.ms"] for name, spec in of_kind(layer, "KafkaTopic").items()
    }
    for namespace in namespaces:
        letters = kept[names.topic(namespace, Topic.DEAD_LETTERS)]
        assert letters >= 4 * max(kept[topic] for topic in topics)


@with_kafka
def test_a_service_may_do_what_it_may_on_a_secure_stack_and_nothing_else(layer):
    namespaces, topics = told(layer)
    granted = {
        (str(grant.principal), grant.kind, str(name), operation, grant.prefixed)
        for grant in access.kafka(namespaces=namespaces, topics=topics)
        for name in grant.names
        for operation in grant.operations
        # Developers of a namespace are people of that stack alone.
        if grant.principal in set(Service)
    }
    found = {
        (
            user,
            rule["resource"]["type"],
            rule["resource"]["name"],
            operation.upper(),
            rule["resource"]["patternType"] == "prefix",
        )
        for user, spec in of_kind(layer, "KafkaUser").items()
        for rule in spec["authorization"]["acls"]
        for operation in rule["operations"]
    }
    assert found == granted


@with_kafka
def test_a_user_is_the_common_name_of_a_service_s_own_certificate(layer):
    certificates = {
        one["spec"]["commonName"] for one in rendering.layer(layer) if one["kind"] == "Certificate"
    }
    for user, spec in of_kind(layer, "KafkaUser").items():
        assert spec["authentication"] == {"type": "tls-external"}
        assert user in certificates


@with_kafka
def test_no_more_routers_than_partitions(layer):
    _, topics = told(layer)
    partitions = max(of_kind(layer, "KafkaTopic")[topic]["partitions"] for topic in topics)
    for file, most in {
        "keda/scaledobjects": "maxReplicaCount",
        "hpa/autoscalers": "maxReplicas",
    }.items():
        text = (COMPONENTS / f"{file}.yaml").read_text()
        (spec,) = (
            one["spec"]
            for one in yaml.load_all(text, yaml.CSafeLoader)
            if one["metadata"]["name"] == "router" and most in one["spec"]
        )
        assert spec[most] <= partitions
