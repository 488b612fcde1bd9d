"""The secure suite of containers: certificates on every edge, nothing published in the clear."""

import importlib
import json
import re
import shlex
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import composing
import pytest
import yaml
from cryptography import x509

from contracts.services import Service
from devstack import container_secrets, issuer
from devstack.infrastructure import access, certificates
from devstack.infrastructure.certificates import StackCertificates

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples" / "demo"))
FILES = (ROOT / "docker-compose.yml", ROOT / "docker-compose.secure.yml")
PLAIN = composing.load(FILES[0])["services"]
SECURE = composing.merged(FILES)["services"]
FOLDER = ROOT / "deploy" / "compose"
SERVERS = ("postgres", "redis", "kafka", "temporal")
OBSERVING = {name for name, one in PLAIN.items() if "observability" in one.get("profiles", ())}
CERTIFIED = sorted(set(SECURE) - OBSERVING - {"certificates"})
PACKAGE = {service: service.replace("-", "_") for service in Service}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What was handed out, with each holder's folder."""
    folder = tmp_path_factory.mktemp("secrets")
    container_secrets.hand_out(folder, now=datetime.now(UTC))
    return folder


def mounts(name):
    """Return what a container mounts: source by target."""
    pairs = [composing.filled(one).split(":") for one in SECURE[name].get("volumes", ())]
    return {target: source for source, target, *_ in pairs}


def holder(name):
    """Return whose folder a container has as /secrets."""
    return mounts(name)["/secrets"].removeprefix("secrets-")


def environment(name):
    return {
        key: composing.filled(str(value))
        for key, value in SECURE[name].get("environment", {}).items()
    }


def said(name):
    """Return everything that a container is told, as text."""
    service = SECURE[name]
    parts = [service.get("command", ""), service.get("healthcheck", ""), environment(name)]
    return json.dumps(parts)


def test_who_forgets_a_file_or_the_profile_is_told():
    alone = PLAIN["certificates"]
    assert alone["profiles"] == SECURE["certificates"]["profiles"] == ["secure"]
    done = subprocess.run(
        [sys.executable, *alone["entrypoint"][1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "-f docker-compose.secure.yml" in done.stderr
    # Without the profile there is no `certificates`, which everybody here waits for.
    for name in CERTIFIED:
        condition = SECURE[name]["depends_on"]["certificates"]["condition"]
        assert condition == "service_completed_successfully"


@pytest.mark.parametrize("name", CERTIFIED)
def test_each_container_has_a_certificate_of_its_own_and_no_other_s(name, given):
    sources = [one for one in mounts(name).values() if one.startswith("secrets-")]
    assert len(sources) == 1
    assert (given / holder(name) / "tls.key").is_file()
    assert all(one.endswith(":ro") for one in SECURE[name]["volumes"] if "secrets-" in one)
    # Whoever prepares the servers shows the admin's; everybody else its own.
    preparing = SECURE[name]["restart"] == "no"
    assert holder(name) == (container_secrets.ADMIN if preparing else name)


@pytest.mark.parametrize("name", CERTIFIED)
def test_what_a_container_is_told_to_read_was_given_to_it(name, given):
    named = set(re.findall(r"/secrets/([A-Za-z0-9.-]+[A-Za-z0-9])", said(name)))
    assert named
    assert named <= {file.name for file in (given / holder(name)).iterdir()}


def test_every_volume_of_secrets_is_filled():
    filled = mounts("certificates")
    volumes = composing.merged(FILES)["volumes"]
    made = {f"/secrets/{one.folder}" for one in container_secrets.holders()}
    assert {target for target in filled if target.startswith("/secrets/")} == {
        *made,
        f"/secrets/{container_secrets.KEPT}",
    }
    secret = {name for name in volumes if name.startswith("secrets-")}
    assert set(filled.values()) - {"./tools/devstack/src/devstack"} == secret


def test_what_is_handed_out_is_readable_by_its_user_only(given):
    for file in (one for one in given.rglob("*") if one.is_file() and one.suffix != ".crt"):
        if file.parent.name not in {container_secrets.KEPT, "keys", "issuer"}:
            assert file.stat().st_mode & 0o077 == 0, file


def test_it_can_be_done_again_and_changes_nothing_that_still_serves(given):
    before = {file: file.read_bytes() for file in given.rglob("*") if file.is_file()}
    container_secrets.hand_out(given, now=datetime.now(UTC))
    changed = {file.name for file, content in before.items() if file.read_bytes() != content}
    assert changed <= {"token"}  # it is made for the time that comes


@pytest.mark.parametrize("one", container_secrets.holders(), ids=lambda one: one.folder)
def test_a_server_s_certificate_is_for_the_name_that_the_others_call_it(one, given):
    context = ssl.create_default_context(cafile=given / one.folder / "ca.crt")
    context.load_cert_chain(given / one.folder / "tls.crt", given / one.folder / "tls.key")
    held = x509.load_pem_x509_certificate((given / one.folder / "tls.crt").read_bytes())
    if not one.request.hosts:
        return
    names = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert one.folder in names.get_values_for_type(x509.DNSName)


def test_the_names_are_those_of_the_stack_without_containers():
    """Grants are given to names; and nobody else has one of these."""
    stack = {one.name: one for one in StackCertificates(Path(), namespaces=["dev"])._requests()}
    here = {one.request.name: one.request for one in container_secrets.holders()}
    assert set(here) - set(stack) == {"temporal-ui"}
    assert not set(stack) - set(here)
    assert {name: one.uris for name, one in here.items() if name in stack} == {
        name: one.uris for name, one in stack.items()
    }
    assert container_secrets.ADMIN == certificates.ADMIN
    assert certificates.member_name("dev") == container_secrets.DEVELOPER


def test_who_may_do_what_is_as_in_the_stack_without_containers():
    assert container_secrets.REDIS == access.REDIS
    lines = (FOLDER / "pg_ident.conf").read_text().splitlines()
    mapped = [line.split() for line in lines if not line.startswith("#")]
    assert {role: name for _, name, role in mapped} == access.POSTGRES
    assert {one for one, _, _ in mapped} == {"backbone"}
    granted = [
        line.split()
        for line in (FOLDER / "kafka-acls").read_text().splitlines()
        if not line.startswith("#")
    ]
    topics = json.loads(environment("router")["BACKBONE_TOPICS"])
    assert sorted(granted) == sorted(
        [
            grant.principal,
            grant.kind,
            "prefixed" if grant.prefixed else "literal",
            ",".join(operation.capitalize() for operation in grant.operations),
            *grant.names,
        ]
        for grant in access.kafka(namespaces=["dev"], topics=topics)
    )
    superusers = {f"User:{name}" for name in access.KAFKA_SUPERUSERS}
    assert set(environment("kafka")["KAFKA_SUPER_USERS"].split(";")) == superusers


def test_each_grant_becomes_one_command_of_kafka(tmp_path):
    """The script itself, with a program in the place of Kafka's."""
    (tmp_path / "kafka-acls.sh").write_text('#!/bin/bash\nprintf "%s " "$@"; echo\n')
    (tmp_path / "kafka-acls.sh").chmod(0o755)
    script = (
        (FOLDER / "kafka-acls.sh")
        .read_text()
        .replace("/opt/kafka/bin", str(tmp_path))
        .replace("/etc/backbone", str(FOLDER))
    )
    done = subprocess.run(
        ["bash", "-euc", script], capture_output=True, text=True, check=True, timeout=30
    )
    commands = [shlex.split(line) for line in done.stdout.splitlines()]
    grants = access.kafka(namespaces=["dev"], topics=["dev.events"])
    assert len(commands) == len(grants)
    (relay,) = [one for one in commands if "User:outbox-relay" in one]
    assert [relay[at + 1] for at, word in enumerate(relay) if word == "--topic"] == [
        "dev.backbone.task-events",
        "dev.backbone.run-events",
        "dev.backbone.definition-events",
    ]
    assert [relay[at + 1] for at, word in enumerate(relay) if word == "--operation"] == [
        "Write",
        "Describe",
    ]


PUBLISHED = {
    # The server or service, and its port in the container: what it asks of who comes.
    ("postgres", "5432"): "a certificate",
    ("redis", "6379"): "a certificate and a password",
    ("kafka", "19092"): "a certificate",
    ("temporal", "7233"): "a certificate",
    ("registry", "50051"): "a certificate",
    ("ledger", "50051"): "a certificate",
    ("router", "50051"): "a certificate",
    ("console", "8090"): "a token, over TLS",
}


def test_nothing_is_published_that_speaks_in_the_clear():
    published = {
        (name, port.rpartition(":")[2])
        for name, service in SECURE.items()
        if name not in OBSERVING
        for port in service.get("ports", ())
    }
    assert published == set(PUBLISHED)
    for name in SERVERS:
        assert SECURE[name]["ports"] == PLAIN[name]["ports"]


def test_servers_speak_with_nobody_in_the_clear():
    options = " ".join(SECURE["postgres"]["command"])
    assert "-cssl=on" in options
    rules = [
        line.split()
        for line in (FOLDER / "pg_hba.conf").read_text().splitlines()
        if not line.startswith("#")
    ]
    # Over the network by a certificate alone; the image's own entrypoint by the socket.
    assert rules == [
        ["local", "all", "postgres", "peer"],
        ["hostssl", "all", "all", "all", "cert", "map=backbone"],
    ]
    redis = SECURE["redis"]["command"]
    assert redis[redis.index("--port") + 1] == "0"
    assert redis[redis.index("--tls-auth-clients") + 1] == "yes"
    kafka = environment("kafka")
    protocols = dict(
        one.split(":") for one in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    )
    listeners = {one.split(":")[0] for one in kafka["KAFKA_LISTENERS"].split(",")}
    assert protocols == dict.fromkeys(listeners, "SSL")
    assert kafka["KAFKA_SSL_CLIENT_AUTH"] == "required"
    assert kafka["KAFKA_AUTHORIZER_CLASS_NAME"].endswith(".StandardAuthorizer")
    assert kafka["KAFKA_ALLOW_EVERYONE_IF_NO_ACL_FOUND"] == "false"
    # The image asks for passwords of its key store where the name of a listener ends in SSL.
    assert not any(name.endswith("SSL") for name in listeners)
    temporal = environment("temporal")
    for name in ("SQL_TLS_ENABLED", "SQL_HOST_VERIFICATION", "TEMPORAL_TLS_REQUIRE_CLIENT_AUTH"):
        assert temporal[name] == "true"


def test_kafka_knows_who_shows_a_certificate_as_the_stack_without_containers_does(tmp_path):
    secured = importlib.import_module("devstack.infrastructure.secured")
    state = importlib.import_module("devstack.state").StateFolder(tmp_path)
    state.create()
    stack = StackCertificates(tmp_path / "certs", namespaces=["dev"])
    stack.bring()
    expected = secured.kafka(state, stack)
    told = environment("kafka")
    for name, value in expected.items():
        if not name.endswith("location"):
            here = told[f"KAFKA_{name.upper().replace('.', '_')}"].replace("$$", "$")
            assert here == value, name


@pytest.mark.parametrize("service", Service)
def test_the_settings_are_those_of_the_service_and_nothing_is_in_the_clear(service, monkeypatch):
    told = {name: value for name, value in environment(service).items() if "BACKBONE_" in name}
    settings = importlib.import_module(f"{PACKAGE[service]}.settings").Settings
    known = {f"BACKBONE_{field.upper()}" for field in settings.model_fields}
    # What all of docker-compose.yml has in common is not all of everybody's.
    assert set(told) - known <= {"BACKBONE_NAMESPACES", "BACKBONE_OTLP_ENDPOINT"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    made = settings()
    assert made.environment == "dev"
    assert str(made.tls_private_key) == "/secrets/tls.key"
    for value in told.values():
        assert "password" not in urlsplit(value).netloc
        assert not re.search(r"://[^/@\s\"]+:[^/@\s\"]+@", value), "a password in a URL"
        assert not value.startswith(("redis://", "http://")), value


@pytest.mark.parametrize("name", ["registry-migrate", "ledger-migrate"])
def test_who_migrates_is_the_owner_by_the_admin_s_certificate(name):
    role = urlsplit(environment(name)["BACKBONE_POSTGRES_DSN"]).username
    assert role == f"{name.removesuffix('-migrate')}_owner"
    assert access.POSTGRES[role] == holder(name)


def test_roles_are_those_that_the_services_certificates_may_be():
    for name, service in SECURE.items():
        text = json.dumps(service.get("environment", {}))
        for role in re.findall(r"postgresql://(\w+)@postgres", text):
            assert access.POSTGRES[role] in {holder(name), certificates.ADMIN}, (name, role)


def test_people_sign_in_with_tokens_of_the_suite_s_own_issuer(given):
    for name in ("registry", "ledger", "router"):
        told = environment(name)
        listen = told["BACKBONE_PEOPLE_LISTEN"].rpartition(":")[2]
        assert environment("console")[f"BACKBONE_{name.upper()}_ADDRESS"] == f"{name}:{listen}"
        assert told["BACKBONE_OIDC_ISSUER"] == issuer.ISSUER
        assert told["BACKBONE_OIDC_AUDIENCE"] == issuer.AUDIENCE
        listening = SECURE["issuer"]["command"][0].rpartition(":")[2]
        assert told["BACKBONE_OIDC_JWKS_URL"] == f"https://issuer:{listening}/{issuer.KEYS}"
    assert (given / "developer" / "token").read_text().count(".") == 2
    assert "BACKBONE_CONSOLE_ACTOR" not in environment("console")


def test_what_makes_the_secrets_stands_on_what_the_image_has():
    """It runs on the libraries of the ledger's image, not on those of the stack's own."""
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"psutil", "temporalio", "confluent_kafka", "redis", "typer"}:
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
import devstack.container_secrets, devstack.identity_provider, devstack.issuer
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    image = yaml.safe_load(FILES[1].read_text().replace("!reset", "").replace("!override", ""))
    assert "/ledger:" in image["services"]["issuer"]["image"]
    assert "/ledger:" in PLAIN["certificates"]["image"]


def test_the_demo_is_told_of_the_folder_as_the_documents_say():
    composed = importlib.import_module("composed")
    page = (ROOT / "docs" / "transport.md").read_text()
    assert f"{composed.SECRETS}=.backbone/compose" in page
    for name in ("developer", "devstack"):
        assert f"docker compose cp certificates:/secrets/{name} .backbone/compose" in page
