"""Policies of the compose files: versions, limits, rights, health; and what is named is there."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from cli.projects import Project
from devstack.tools import find_prometheus

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples" / "demo"))
OVER = ROOT / "docker-compose.secure.yml"
"""Put over the others, it is held by test_compose_secure.py."""
FILES = sorted(set(ROOT.glob("docker-compose*.yml")) - {OVER})
_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")
WITHOUT_HEALTH = {"jaeger"}
"""Whose image has no program that could ask; a comment beside it says so."""


def _filled(value):
    """Return a value with the defaults of its variables."""
    return _DEFAULT.sub(lambda found: found[1], value)


SERVICES = {
    name: service
    for file in FILES
    for name, service in yaml.safe_load(file.read_text())["services"].items()
}
OURS = [name for name, service in SERVICES.items() if "BACKBONE_IMAGES" in service["image"]]
NEW = {
    path.name: text
    for path, text in Project(name="order-desk", namespace="dev", owner="sales").rendered()
}
"""The files of what `backbone new` makes."""
HANDLERS = yaml.safe_load(NEW["compose.yaml"])["services"]
SERVICES |= HANDLERS
BUILT = [*OURS, *HANDLERS]
each = pytest.mark.parametrize("name", SERVICES)


def test_the_suite_includes_every_file():
    suite = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert {*suite["include"], "docker-compose.yml"} == {file.name for file in FILES}


@each
def test_an_image_has_a_version(name):
    repository, _, tag = _filled(SERVICES[name]["image"]).rpartition(":")
    assert repository
    assert (tag == "dev") if name in BUILT else re.match(r"v?\d+\.\d+", tag)


@each
def test_a_container_has_limits_and_no_right_that_it_does_not_need(name):
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]
    assert not {"privileged", "network_mode", "pid", "ipc"} & service.keys()


@pytest.mark.parametrize("name", BUILT)
def test_our_containers_are_nobody_in_particular_and_write_nothing(name):
    user, _, group = SERVICES[name]["user"].partition(":")
    assert min(int(user), int(group)) >= 10_000
    assert SERVICES[name]["read_only"]


@each
def test_a_port_is_open_to_this_machine_only(name):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))


@each
def test_it_says_how_it_is_or_comes_to_an_end(name):
    service = SERVICES[name]
    ends = service["restart"] == "no"
    assert ("healthcheck" in service) == (not ends and name not in WITHOUT_HEALTH)


@each
def test_it_waits_for_what_is_there_and_can_be_waited_for(name):
    service = SERVICES[name]
    for other, how in service.get("depends_on", {}).items():
        awaited = SERVICES[other]
        # With a profile it may be left out, and who needs it would be, too.
        assert set(awaited.get("profiles", ())) <= set(service.get("profiles", ())), other
        if how["condition"] == "service_healthy":
            assert "healthcheck" in awaited, other
        else:
            assert how["condition"] == "service_completed_successfully"
            assert awaited["restart"] == "no", other


@each
def test_what_is_mounted_is_there(name):
    for volume in SERVICES[name].get("volumes", ()):
        source = _filled(volume).partition(":")[0]
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
            assert volume.endswith(":ro")


def test_prometheus_takes_its_configuration_and_scrapes_every_service():
    file = ROOT / "deploy" / "observability" / "prometheus.yml"
    subprocess.run([find_prometheus().promtool, "check", "config", file], check=True, timeout=60)
    jobs = {
        one["job_name"]: one["static_configs"][0]["targets"]
        for one in yaml.safe_load(file.read_text())["scrape_configs"]
    }
    served = {name for name in OURS if SERVICES[name]["restart"] != "no"}
    assert {name for name in served if jobs.get(name) == [f"{name}:8080"]} == served
    listening = SERVICES["orchestrator-worker"]["environment"]["BACKBONE_TEMPORAL_METRICS_LISTEN"]
    assert jobs["temporal-sdk"] == [f"orchestrator-worker:{listening.rpartition(':')[2]}"]
    listening = SERVICES["temporal"]["environment"]["PROMETHEUS_ENDPOINT"]
    assert jobs["temporal"] == [f"temporal:{listening.rpartition(':')[2]}"]


def test_the_demo_looks_for_the_suite_where_it_is_published():
    """The addresses that the demo takes without a word are those of these files."""
    usual = importlib.import_module("composed").ADDRESSES

    def published(service, port):
        (found,) = (
            _filled(one).rpartition(":")[0]
            for one in SERVICES[service]["ports"]
            if one.endswith(f":{port}")
        )
        return found

    for name, (service, port) in {
        "BACKBONE_REGISTRY_ADDRESS": ("registry", 50051),
        "BACKBONE_LEDGER_ADDRESS": ("ledger", 50051),
        "BACKBONE_ROUTER_ADDRESS": ("router", 50051),
        "BACKBONE_KAFKA_BOOTSTRAP_SERVERS": ("kafka", 19092),
        "BACKBONE_TEMPORAL_ADDRESS": ("temporal", 7233),
    }.items():
        assert usual[name] == published(service, port)
    assert usual["TEMPORAL_UI"] == f"http://{published('temporal-ui', 8080)}"
    assert usual["CONSOLE"] == f"http://{published('console', 8090)}"
    superuser = SERVICES["postgres"]["environment"]
    assert superuser["POSTGRES_USER"] == "postgres"
    assert usual["POSTGRES_PASSWORD"] == _filled(superuser["POSTGRES_PASSWORD"])
    assert usual["POSTGRES_ADDRESS"] == published("postgres", 5432)


def test_the_demo_s_definitions_can_run_as_the_suite_is():
    usual = importlib.import_module("composed").ADDRESSES
    worker = SERVICES["orchestrator-worker"]["environment"]
    for name in ("registry", "orchestrator-worker"):
        mounted = [_filled(one).partition(":")[0] for one in SERVICES[name]["volumes"]]
        assert mounted == ["./examples/catalogue.yaml"]
    examples = ROOT / "examples"
    connectors = yaml.safe_load((examples / "catalogue.yaml").read_text())["connectors"]
    (variable,) = (one["postgres"]["dsnEnv"] for one in connectors.values() if "postgres" in one)
    database = urlsplit(_filled(worker[variable]))
    assert (database.username, database.path) == ("context_ro", "/billing")
    assert database.password == usual["BILLING_DB_PASSWORD"]
    assert f"{database.hostname}:{database.port}" == "postgres:5432"
    served = set(json.loads(_filled(worker["BACKBONE_TASK_QUEUES"])))
    specs = [yaml.safe_load(file.read_text())["spec"] for file in examples.glob("definitions/*")]
    assert {spec["taskQueue"] for spec in specs if "taskQueue" in spec} <= served


def test_grafana_finds_the_dashboards_where_they_are_mounted():
    folder = ROOT / "deploy" / "observability" / "grafana"
    (provider,) = yaml.safe_load((folder / "providers" / "backbone.yaml").read_text())["providers"]
    mounted = dict(volume.split(":")[:2] for volume in SERVICES["grafana"]["volumes"])
    assert provider["options"]["path"] == mounted["./deploy/observability/dashboards"]


def test_a_new_project_includes_the_suite_and_sets_variables_that_it_has():
    (included,) = yaml.safe_load(NEW["compose.yaml"])["include"]
    assert _filled(included["path"]) == "../backbone/docker-compose.yml"
    assert _filled(included["project_directory"]) == "../backbone"
    lines = NEW[included["env_file"].removeprefix("./")].splitlines()
    given = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    suite = (ROOT / "docker-compose.yml").read_text()
    assert {name for name in given if f"${{{name}:-" in suite} == set(given)
    assert given["CATALOGUE"] == "${PWD}/catalogue.yaml"
    assert json.loads(given["WORKER_TASK_QUEUES"].strip("'")) == [
        yaml.safe_load(NEW["process-item.yaml"])["spec"]["taskQueue"]
    ]


def test_the_image_of_a_new_project_is_made_of_what_is_locked_and_there():
    text = NEW["Dockerfile"].replace("\\\n", " ")
    steps = [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line[:1].isupper()]
    assert steps[0] == ("ARG", "PYTHON_IMAGE=python:3.11-slim-bookworm")
    bases = [rest for word, rest in steps if word == "FROM"]
    assert bases == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    assert "syntax=" not in text
    installs = [rest for word, rest in steps if word == "RUN" and " install " in rest]
    assert installs
    assert all("--require-hashes -r " in r or "--no-deps --no-index" in r for r in installs)
    assert [rest for word, rest in steps if word == "USER"] == [HANDLERS["handlers"]["user"]]
    copies = [rest.split() for word, rest in steps if word == "COPY"]
    for source in (words[1] for words in copies if words[0] == "--from=backbone"):
        assert (ROOT / source).exists(), source
    context = {words[0] for words in copies if not words[0].startswith("--from")}
    assert context <= NEW.keys()
    rules = [line for line in NEW[".dockerignore"].splitlines() if not line.startswith("#")]
    assert rules == ["*", *(f"!{name}" for name in sorted(context))]


def test_the_sdk_of_a_new_project_s_image_needs_nothing_that_is_not_locked():
    part, whole = (
        set(re.findall(r"^[\w.-]+==\S+", (ROOT / path).read_text(), re.MULTILINE))
        for path in ("libs/sdk/requirements.txt", "requirements/lock.txt")
    )
    assert part
    assert part <= whole
