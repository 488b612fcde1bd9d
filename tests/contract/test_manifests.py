"""What is deployed, as kustomize renders it: pods that may do little, and edges that are listed."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import rendering

from contracts.services import Service
from devstack import manifests
from runtime import identity

ROOT = Path(__file__).parents[2]
OVERLAYS = manifests.overlays(ROOT)
SECURED = [name for name in OVERLAYS if name != "dev"]
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/Dockerfile"))


def of_kind(overlay, *kinds):
    return {
        (document["kind"], document["metadata"]["name"]): document
        for document in rendering.layer(manifests.Layer(overlay))
        if document["kind"] in kinds
    }


def pods(overlay):
    for (kind, name), document in of_kind(overlay, "Deployment", "Job").items():
        yield f"{kind} {name}", document["spec"]["template"]["spec"]


def settings(overlay, service):
    """Return the variables of a service's Deployment: all are of its ConfigMap."""
    (container,) = of_kind(overlay, "Deployment")["Deployment", service]["spec"]["template"][
        "spec"
    ]["containers"]
    (source,) = container["envFrom"]
    assert not container.get("env")
    return of_kind(overlay, "ConfigMap")["ConfigMap", source["configMapRef"]["name"]]["data"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_may_do_more_than_it_has_to(overlay):
    seen = 0
    for name, pod in pods(overlay):
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert container["resources"]["limits"]["memory"], name
        assert container["resources"]["requests"]["cpu"], name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        assert not [one for one in pod["volumes"] if "hostPath" in one], name
        seen += 1
    assert seen == len(SERVICES) + 2
    for account in of_kind(overlay, "ServiceAccount").values():
        assert account["automountServiceAccountToken"] is False
    (namespace,) = of_kind(overlay, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_secret_is_a_file_and_never_a_variable(overlay):
    for name, pod in pods(overlay):
        (container,) = pod["containers"]
        assert "env" not in container, name
        assert all("configMapRef" in source for source in container["envFrom"]), name
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        for volume in (volume for volume in pod["volumes"] if "secret" in volume):
            assert volume["secret"]["defaultMode"] == 0o440, name
            mount = mounts[volume["name"]]
            assert mount["readOnly"] is True, name
            # What is mounted by a subPath is not replaced when it changes.
            assert "subPath" not in mount, name
    for name, config in of_kind(overlay, "ConfigMap").items():
        assert "password=" not in json.dumps(config["data"]), name


@pytest.mark.parametrize("overlay", SECURED)
def test_outside_of_dev_a_service_has_certificates_and_its_own_name_in_them(overlay):
    assert set(SERVICES) <= set(Service)
    volumes = {name: pod["volumes"] for name, pod in pods(overlay)}
    certificates = of_kind(overlay, "Certificate")
    assert sorted(name for _, name in certificates) == SERVICES
    for (_, name), certificate in certificates.items():
        spec = certificate["spec"]
        assert spec["uris"] == [identity.service_uri("backbone", Service(name))]
        assert spec["commonName"] == name
        assert {name, f"{name}.backbone.svc"} <= set(spec["dnsNames"])
        assert {"server auth", "client auth"} <= set(spec["usages"])
        assert spec["privateKey"]["rotationPolicy"] == "Always"
        assert ("Issuer", spec["issuerRef"]["name"]) in of_kind(overlay, "Issuer")
        assert spec["secretName"] in {
            volume["secret"]["secretName"]
            for volume in volumes[f"Deployment {name}"]
            if "secret" in volume
        }
        variables = settings(overlay, name)
        assert variables["BACKBONE_ENVIRONMENT"] == overlay
        assert variables["BACKBONE_TLS_PRIVATE_KEY"] == "/secrets/tls/tls.key"
        assert ("BACKBONE_SIGNING_KEY" in variables) == (name in {"ledger", "registry"})


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_file_that_is_named_is_mounted(overlay):
    for (_, service), deployment in of_kind(overlay, "Deployment").items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        for variable, value in settings(overlay, service).items():
            if value.startswith("/"):
                assert str(Path(value).parent) in mounted, (service, variable)
        for outbox in json.loads(settings(overlay, service).get("BACKBONE_OUTBOXES", "[]")):
            assert str(Path(outbox["password_file"]).parent) in mounted


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_that_is_needed_is_made(overlay):
    made = {name for _, name in of_kind(overlay, "Secret", "ExternalSecret", "SealedSecret")}
    made |= {one["spec"]["secretName"] for one in of_kind(overlay, "Certificate").values()}
    needed = {
        volume["secret"]["secretName"]
        for _, pod in pods(overlay)
        for volume in pod["volumes"]
        if "secret" in volume and not (overlay == "dev" and volume["secret"].get("optional"))
    }
    # What the catalogue names is the operator's.
    assert needed - {"orchestrator-worker-connectors"} <= made


@pytest.mark.parametrize("overlay", SECURED)
def test_no_secret_stands_in_a_manifest(overlay):
    assert not of_kind(overlay, "Secret")
    for sealed in of_kind(overlay, "SealedSecret").values():
        assert set(sealed["spec"]["encryptedData"].values()) == {
            "REPLACE-with-what-kubeseal-prints"
        }


DOOR = 7443
"""Where people and the console show tokens."""
EDGES = {
    "registry": {"ledger:50051", "backbone-data:5432", "backbone-data:7233", "identity:8443"},
    "ledger": {"backbone-data:5432", "identity:8443"},
    "router": {
        *("registry:50051", "ledger:50051", "identity:8443"),
        *("backbone-data:9093", "backbone-data:6379", "backbone-data:7233"),
    },
    "orchestrator-worker": {"registry:50051", "ledger:50051", "backbone-data:7233", "outside:443"},
    "outbox-relay": {"backbone-data:5432", "backbone-data:9093"},
    "console": {f"registry:{DOOR}", f"ledger:{DOOR}", f"router:{DOOR}", "identity:8443"},
}
"""Whom each service calls: the edges of docs/security.md, written by hand."""
CALLERS = {
    "registry": {
        *("router:50051", "orchestrator-worker:50051", "clients:50051"),
        *(f"console:{DOOR}", "monitoring:8080"),
    },
    "ledger": {
        *("registry:50051", "router:50051", "orchestrator-worker:50051", "clients:50051"),
        *(f"console:{DOOR}", "monitoring:8080"),
    },
    "router": {"clients:50051", f"console:{DOOR}", "monitoring:8080"},
    "orchestrator-worker": {"monitoring:8080"},
    "outbox-relay": {"monitoring:8080"},
    "console": {"ingress:8090", "monitoring:8080"},
}
"""Who calls each, by the labels of pods and namespaces."""


def peers(rules, direction):
    for rule in rules:
        for peer in rule[direction]:
            for port in rule["ports"]:
                yield _named(peer), port["port"]


def _named(peer):
    if "ipBlock" in peer:
        return "outside"
    (labels,) = (selector["matchLabels"] for selector in peer.values())
    ((key, value),) = labels.items()
    return key.removeprefix("backbone/") if value == "true" else value


@pytest.mark.parametrize("overlay", SECURED)
def test_nobody_reaches_anybody_but_along_the_edges(overlay):
    policies = [one["spec"] for one in of_kind(overlay, "NetworkPolicy").values()]
    everybody = [spec for spec in policies if not spec["podSelector"]]
    assert [spec for spec in everybody if set(spec["policyTypes"]) == {"Ingress", "Egress"}]
    assert {p for spec in everybody for p in peers(spec.get("egress", []), "to")} == {
        ("kube-system", 53)
    }
    assert not [spec for spec in everybody if spec.get("ingress")]
    called, callers = {}, {}
    for spec in policies:
        if spec["podSelector"]:
            ((_, service),) = spec["podSelector"]["matchLabels"].items()
            called.setdefault(service, set()).update(
                f"{name}:{port}" for name, port in peers(spec.get("egress", []), "to")
            )
            callers.setdefault(service, set()).update(
                f"{name}:{port}" for name, port in peers(spec.get("ingress", []), "from")
            )
    assert called == EDGES
    assert callers == CALLERS


@pytest.mark.parametrize("overlay", SECURED)
def test_what_connectors_look_at_is_no_address_of_the_cluster(overlay):
    policy = of_kind(overlay, "NetworkPolicy")["NetworkPolicy", "orchestrator-worker-connectors"]
    (rule,) = policy["spec"]["egress"]
    (peer,) = rule["to"]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(
        peer["ipBlock"]["except"]
    )


def served(overlay, service):
    """Return the number of each port of a service by which its pods are reached, by name."""
    (container,) = of_kind(overlay, "Deployment")["Deployment", service]["spec"]["template"][
        "spec"
    ]["containers"]
    numbers = {port["name"]: port["containerPort"] for port in container["ports"]}
    ports = of_kind(overlay, "Service")["Service", service]["spec"]["ports"]
    assert all(numbers[port["targetPort"]] == port["port"] for port in ports)
    return numbers


@pytest.mark.parametrize("overlay", SECURED)
@pytest.mark.parametrize("service", ["registry", "ledger", "router"])
def test_the_console_goes_to_the_door_of_people_with_what_its_visitor_shows(overlay, service):
    told = settings(overlay, "console")
    assert told[f"BACKBONE_{service.upper()}_ADDRESS"] == f"{service}:{DOOR}"
    assert served(overlay, service)["people"] == DOOR
    assert settings(overlay, service)["BACKBONE_PEOPLE_LISTEN"] == f"0.0.0.0:{DOOR}"
    assert service in of_kind(overlay, "Certificate")["Certificate", service]["spec"]["dnsNames"]


@pytest.mark.parametrize("overlay", SECURED)
def test_every_door_takes_the_tokens_of_one_issuer_for_this_installation_alone(overlay):
    said = [
        {key: value for key, value in settings(overlay, service).items() if "_OIDC_" in key}
        for service in ("registry", "ledger", "router", "console")
    ]
    assert all(one == said[0] for one in said)
    issuer = urlsplit(said[0]["BACKBONE_OIDC_JWKS_URL"])
    assert f"{issuer.hostname.split('.')[1]}:{issuer.port}" == "identity:8443"
    (others,) = (one for one in SECURED if one != overlay)
    theirs = settings(others, "ledger")
    assert said[0]["BACKBONE_OIDC_AUDIENCE"] != theirs["BACKBONE_OIDC_AUDIENCE"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pages_are_served_where_they_are_looked_for_and_signed_in_to_but_in_dev(overlay):
    told = settings(overlay, "console")
    assert told["BACKBONE_CONSOLE_LISTEN"] == f"0.0.0.0:{served(overlay, 'console')['pages']}"
    # Nobody is somebody else, and no token or cookie goes in the clear.
    assert ("BACKBONE_CONSOLE_ACTOR" in told) == (overlay == "dev")
    assert ("BACKBONE_TLS_CERTIFICATE" in told) == (overlay != "dev")
    # One signs in at the issuer whose tokens the doors take, and comes back by https.
    assert ("BACKBONE_CONSOLE_CLIENT_ID" in told) == (overlay != "dev")
    assert told.get("BACKBONE_CONSOLE_ORIGIN", "https://").startswith("https://")
    assert told["BACKBONE_NAMESPACES"] == settings(overlay, "ledger")["BACKBONE_NAMESPACES"]
