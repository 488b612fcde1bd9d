"""The values for Temporal's Helm chart: a server as the overlays call it, and as ours is tested."""

import json
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from devstack.tools import temporal_server

ROOT = Path(__file__).parents[2]
VALUES = yaml.safe_load((ROOT / "deploy/temporal/values.yaml").read_text())
KUSTOMIZE = ROOT / "deploy/kustomize"
DEVELOPMENT = yaml.safe_load((KUSTOMIZE / "components/temporal/development.yaml").read_text())
DEVELOPMENT_ONLY = {
    "system.namespaceCacheRefreshInterval",
    "system.forceSearchAttributesCacheRefreshOnRead",
}
"""They make what is new known at once, and ask the database for it again and again."""
PARTS = ("frontend", "history", "matching", "worker")
_POD = {"image", "nodeSelector", "tolerations", "resources", "securityContext"}
_PART = {"containerSecurityContext", "resources", "podDisruptionBudget"}
KNOWN = {
    "": {"fullnameOverride", "server", "admintools", "schema", "web"},
    "server": {
        *("image", "replicaCount", "config", "tls", "dynamicConfig", "securityContext"),
        *("nodeSelector", "tolerations", *PARTS),
    },
    "server.config": {"logLevel", "persistence", "metrics", "namespaces"},
    "server.config.persistence": {
        *("defaultStore", "visibilityStore", "numHistoryShards", "datastores"),
    },
    "server.config.namespaces": {"create", "namespace"},
    "server.tls": {"internode", "frontend"},
    "server.tls.internode": {"enabled", "secretName", "requireClientAuth", "serverName"},
    "server.tls.frontend": {"enabled", "secretName", "requireClientAuth", "serverName"},
    **{f"server.{part}": {*_PART, "topologySpreadConstraints"} for part in PARTS},
    "admintools": {
        *(*_POD, "containerSecurityContext", "additionalVolumes", "additionalVolumeMounts"),
    },
    "schema": {"securityContext", "containerSecurityContext", "resources"},
    "web": {*_POD, "replicaCount", "containerSecurityContext", "tls"},
    "web.tls": {"enabled", "secretName", "serverName", "enableHostVerification"},
}
"""Keys of the chart. It says nothing of one that it does not know, and goes on without."""
STORE = {
    *("createDatabase", "manageSchema", "pluginName", "databaseName", "connectAddr", "user"),
    *("connectProtocol", "existingSecret", "secretKey", "tls"),
    *("maxConns", "maxIdleConns", "maxConnLifetime"),
}
"""Keys of a store: the chart's, and those of the server's own configuration."""


def at(path):
    found = VALUES
    for key in filter(None, path.split(".")):
        found = found[key]
    return found


def literals(file, of):
    """Return the variables that a kustomization gives to a service."""
    generated = yaml.safe_load((KUSTOMIZE / file).read_text())["configMapGenerator"]
    (given,) = (one["literals"] for one in generated if one["name"] == of)
    return dict(literal.split("=", 1) for literal in given)


@pytest.mark.parametrize("path", KNOWN)
def test_the_chart_knows_every_key(path):
    assert set(at(path)) <= KNOWN[path]


def test_the_version_is_the_one_that_the_secure_stack_is_tested_with():
    assert VALUES["server"]["image"]["tag"] == temporal_server.VERSION
    assert VALUES["admintools"]["image"]["tag"] == temporal_server.VERSION


def test_the_dynamic_configuration_is_that_of_development_but_for_its_short_cuts():
    shared = {key: value for key, value in DEVELOPMENT.items() if key not in DEVELOPMENT_ONLY}
    assert set(DEVELOPMENT) >= DEVELOPMENT_ONLY
    assert VALUES["server"]["dynamicConfig"] == shared


def warnings(file, configuration):
    """Return what the server's own validator says of a dynamic configuration."""
    file.write_text(yaml.safe_dump(configuration))
    validator = temporal_server.find_temporal_server().server
    done = subprocess.run(
        [validator, "validate-dynamic-config", file],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [line for line in (done.stdout + done.stderr).splitlines() if "warning" in line]


@pytest.mark.parametrize("configuration", [DEVELOPMENT, VALUES["server"]["dynamicConfig"]])
def test_the_server_knows_every_key_and_takes_every_value(configuration, tmp_path):
    assert warnings(tmp_path / "dynamic.yaml", configuration) == []


def test_a_key_that_is_misspelt_and_a_value_of_another_type_are_warned_of(tmp_path):
    wrong = {"limit.maxIDLenght": [{"value": 3}], "limit.maxIDLength": [{"value": "long"}]}
    assert len(warnings(tmp_path / "dynamic.yaml", wrong)) == 2


def test_both_stores_are_on_the_installations_postgresql_which_shows_its_certificate():
    persistence = at("server.config.persistence")
    stores = persistence["datastores"]
    assert set(stores) == {persistence["defaultStore"], persistence["visibilityStore"]}
    names = set()
    for store in stores.values():
        sql = store["sql"]
        assert set(sql) <= STORE
        assert sql["pluginName"] == "postgres12_pgx"
        postgres = literals("components/secured/kustomization.yaml", "ledger")
        address = urlsplit(postgres["BACKBONE_POSTGRES_DSN"])
        assert sql["connectAddr"] == f"{address.hostname}:{address.port}"
        assert sql["tls"]["enabled"] is True
        assert sql["tls"]["enableHostVerification"] is True
        assert sql["tls"]["serverName"] == address.hostname
        # A password is a Secret.
        assert sql["existingSecret"]
        names.add(sql["databaseName"])
    assert names == {"temporal", "temporal_visibility"}


def test_nobody_comes_in_without_a_certificate_and_services_call_the_name_in_its_own():
    tls = at("server.tls")
    for one in tls.values():
        assert one["enabled"] is True
        assert one["requireClientAuth"] is True
    for service in ("registry", "router", "orchestrator-worker"):
        told = literals("components/secured/kustomization.yaml", service)
        assert told["BACKBONE_TEMPORAL_ADDRESS"] == f"{tls['frontend']['serverName']}:7233"
    assert at("web.tls.serverName") == tls["frontend"]["serverName"]
    assert at("web.tls.enableHostVerification") is True


def test_the_schema_s_job_finds_the_certificate_where_the_server_has_it():
    (mount,) = at("admintools.additionalVolumeMounts")
    (volume,) = at("admintools.additionalVolumes")
    assert mount["name"] == volume["name"]
    assert volume["secret"]["secretName"] == at("server.tls.internode.secretName")
    for store in at("server.config.persistence.datastores").values():
        tls = store["sql"]["tls"]
        files = [Path(tls[key]) for key in ("certFile", "keyFile", "caFile")]
        assert {str(file.parent) for file in files} == {mount["mountPath"]}
        assert [file.name for file in files] == ["tls.crt", "tls.key", "ca.crt"]


def test_temporal_has_the_namespaces_of_the_installation():
    told = literals("overlays/prod/kustomization.yaml", "orchestrator-worker")
    made = at("server.config.namespaces")
    assert made["create"] is True
    assert [one["name"] for one in made["namespace"]] == json.loads(told["BACKBONE_NAMESPACES"])


def test_every_pod_is_small_and_may_do_little():
    for path in (*(f"server.{part}" for part in PARTS), "admintools", "schema", "web"):
        needs = at(path)["resources"]
        assert {"cpu", "memory"} <= set(needs["requests"]), path
        assert set(needs["limits"]) == {"memory"}, path
        assert at(path)["containerSecurityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }, path
    for path in ("server", "admintools", "schema", "web"):
        assert at(path)["securityContext"]["runAsNonRoot"] is True, path
        assert at(path)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, path


def test_a_node_can_be_emptied_and_its_loss_leaves_a_replica():
    assert VALUES["server"]["replicaCount"] >= 2
    for part in PARTS:
        budget = at(f"server.{part}.podDisruptionBudget")
        assert budget == {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
        (spread,) = at(f"server.{part}.topologySpreadConstraints")
        assert spread["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == part


def test_the_pool_of_nodes_that_is_chosen_is_also_tolerated():
    for path in ("server", "admintools", "web"):
        ((label, pool),) = at(path)["nodeSelector"].items()
        (tolerated,) = at(path)["tolerations"]
        assert (tolerated["key"], tolerated["value"]) == (label, pool)
