"""The values for Temporal's Helm chart: a server as the overlays call it, and as ours is tested."""

import json
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from devstack.infrastructure import access, secured
from devstack.tools import temporal_server

ROOT = Path(__file__).parents[2]
VALUES = yaml.safe_load((ROOT / "deploy/temporal/values.yaml").read_text())
KUSTOMIZE = ROOT / "deploy/kustomize"
DEVELOPMENT = yaml.safe_load((KUSTOMIZE / "components/temporal/development.yaml").read_text())
SERVICES = ("registry", "ledger", "router", "orchestrator-worker", "outbox-relay")
DEVELOPMENT_ONLY = {
    "system.namespaceCacheRefreshInterval",
    "system.forceSearchAttributesCacheRefreshOnRead",
}
"""They make what is new known at once, and ask the database for it again and again."""
PARTS = ("frontend", "internal-frontend", "history", "matching", "worker")
_POD = {"image", "nodeSelector", "tolerations", "additionalEnv"}
_MOUNTS = {"additionalVolumes", "additionalVolumeMounts"}
_PART = {"containerSecurityContext", "resources", "podDisruptionBudget"}
KNOWN = {
    "": {"fullnameOverride", "server", "admintools", "schema", "web", "extraObjects"},
    "server": {
        *("replicaCount", "config", "dynamicConfig", "securityContext"),
        *(*_POD, *_MOUNTS, *PARTS),
    },
    "server.config": {
        *("logLevel", "persistence", "metrics", "namespaces", "tls", "authorization"),
    },
    "server.config.persistence": {
        *("defaultStore", "visibilityStore", "numHistoryShards", "datastores"),
    },
    "server.config.namespaces": {"create", "namespace"},
    **{f"server.{part}": {*_PART, "topologySpreadConstraints", "enabled"} for part in PARTS},
    "admintools": {*_POD, *_MOUNTS, "enabled"},
    "schema": {"securityContext", "containerSecurityContext", "resources"},
    "web": {
        *(*_POD, *_MOUNTS, "replicaCount", "containerSecurityContext"),
        *("resources", "securityContext"),
    },
}
"""Keys of the chart. It says nothing of one that it does not know, and goes on without."""
SERVER_TLS = {"certFile", "keyFile", "requireClientAuth", "clientCaFiles"}
CLIENT_TLS = {"serverName", "rootCaFiles"}
AUTHORIZATION = {
    *("authorizer", "claimMapper", "permissionsClaimName", "audience", "jwtKeyProvider"),
}
"""Keys of the server's own configuration, to which the chart hands them on."""
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


def variables(path):
    return {one["name"]: one["value"] for one in at(f"{path}.additionalEnv")}


def test_nobody_comes_in_without_a_certificate_and_services_call_the_name_in_its_own():
    tls = at("server.config.tls")
    assert set(tls) == {"frontend", "internode", "refreshInterval"}
    for one in (tls["frontend"], tls["internode"]):
        assert set(one["server"]) == SERVER_TLS
        assert set(one["client"]) == CLIENT_TLS
        assert one["server"]["requireClientAuth"] is True
        assert one["server"]["clientCaFiles"] == one["client"]["rootCaFiles"]
    name = tls["frontend"]["client"]["serverName"]
    for service in ("registry", "router", "orchestrator-worker"):
        told = literals("components/secured/kustomization.yaml", service)
        assert told["BACKBONE_TEMPORAL_ADDRESS"] == f"{name}:7233"
    assert variables("web")["TEMPORAL_TLS_SERVER_NAME"] == name
    assert variables("web")["TEMPORAL_TLS_ENABLE_HOST_VERIFICATION"] == "true"


def mounted(path):
    """Return the Secret behind each folder that is mounted."""
    secrets = {one["name"]: one["secret"]["secretName"] for one in at(f"{path}.additionalVolumes")}
    mounts = at(f"{path}.additionalVolumeMounts")
    assert all(mount["readOnly"] for mount in mounts)
    return {mount["mountPath"]: secrets[mount["name"]] for mount in mounts}


def named(value):
    """Yield each file below /etc/temporal/tls that is named."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from named(one)
    elif isinstance(value, str) and value.startswith("/etc/temporal/tls/"):
        yield Path(value)


@pytest.mark.parametrize("path", ["server", "admintools", "web"])
def test_every_file_that_is_named_is_mounted(path):
    files = list(named(at(path)))
    assert {file.name for file in files if file.suffix} == {"tls.crt", "tls.key", "ca.crt"}
    assert {str(file.parent) for file in files if file.suffix} <= set(mounted(path))


def test_the_parts_of_the_server_have_an_authority_of_their_own():
    """They ask for no token: with the installation's, every member could do everything."""
    tls = at("server.config.tls")
    frontend, internode = (
        {mounted("server")[str(file.parent)] for file in named(tls[group])}
        for group in ("frontend", "internode")
    )
    assert (frontend, internode) == ({"temporal-tls"}, {"temporal-internode-tls"})
    # PostgreSQL is the installation's.
    store = at("server.config.persistence.datastores.default.sql.tls")
    assert {mounted("server")[str(file.parent)] for file in named(store)} == frontend
    # Who makes the namespaces goes to the internal frontend.
    assert (
        variables("admintools")["TEMPORAL_TLS_SERVER_NAME"]
        == (tls["internode"]["client"]["serverName"])
    )
    assert at("server.internal-frontend.enabled") is True
    assert at("admintools.enabled") is False
    assert "temporal-internode-tls" not in mounted("web").values()


def test_the_authorizer_of_the_tested_server_is_on():
    given = at("server.config.authorization")
    tested = secured.temporal_authorization("https://issuer/keys")
    assert set(given) == set(tested) == AUTHORIZATION
    for key in ("authorizer", "claimMapper", "permissionsClaimName"):
        assert given[key] == tested[key]
    assert set(given["jwtKeyProvider"]) == set(tested["jwtKeyProvider"])
    assert all(one.startswith("https://") for one in given["jwtKeyProvider"]["keySourceURIs"])
    assert given["audience"]
    assert Path(variables("server")["SSL_CERT_FILE"]) in named(at("server"))


def test_each_service_that_calls_temporal_shows_a_token_and_no_other_does():
    for service in SERVICES:
        told = literals("components/secured/kustomization.yaml", service)
        calls = service in access.TEMPORAL_SERVICES
        assert ("BACKBONE_TEMPORAL_TOKEN_FILE" in told) == calls
        assert ("BACKBONE_TEMPORAL_ADDRESS" in told) == calls


PORTS = {
    "internal-frontend": (7236, 6936),
    "history": (7234, 6934),
    "matching": (7235, 6935),
    "worker": (6939,),
}
"""Of gRPC and of membership, by the chart's own values."""


def test_the_parts_are_reached_by_one_another_and_the_internal_frontend_by_nobody_over_http():
    (policy,) = (yaml.safe_load(one) for one in at("extraObjects"))
    assert policy["kind"] == "NetworkPolicy"
    (chosen,) = policy["spec"]["podSelector"]["matchExpressions"]
    assert set(chosen["values"]) == set(PORTS)
    parts, metrics = policy["spec"]["ingress"]
    assert parts["from"] == [
        {"podSelector": {"matchLabels": policy["spec"]["podSelector"]["matchLabels"]}}
    ]
    opened = {one["port"] for one in parts["ports"]}
    assert opened == {port for ports in PORTS.values() for port in ports}
    (metric,) = metrics["ports"]
    listening = at("server.config.metrics.prometheus.listenAddress")
    assert str(metric["port"]) == listening.rpartition(":")[2]


def test_temporal_has_the_namespaces_of_the_installation():
    told = literals("overlays/prod/kustomization.yaml", "orchestrator-worker")
    made = at("server.config.namespaces")
    assert made["create"] is True
    assert [one["name"] for one in made["namespace"]] == json.loads(told["BACKBONE_NAMESPACES"])


def test_every_pod_is_small_and_may_do_little():
    for path in (*(f"server.{part}" for part in PARTS), "schema", "web"):
        needs = at(path)["resources"]
        assert {"cpu", "memory"} <= set(needs["requests"]), path
        assert set(needs["limits"]) == {"memory"}, path
        assert at(path)["containerSecurityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }, path
    for path in ("server", "schema", "web"):
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
