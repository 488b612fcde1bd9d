"""Nightly dumps of PostgreSQL: what the script promises, and that it dumps what the ledger uses."""

import os
import re
import stat
import subprocess
import time
from pathlib import Path

import pytest
import rendering

from devstack import manifests

ROOT = Path(__file__).parents[2]
COMPONENT = ROOT / manifests.FOLDER / "components/backups"
LAYERS = [layer for layer in manifests.layers(ROOT) if layer.extras == ("backups",)]
PASSWORD = "a:b\\c'd"
DAY = 86400  # seconds
with_backups = pytest.mark.parametrize("layer", LAYERS, ids=str)

PG_DUMP = """#!/bin/sh
for argument; do case "$argument" in --file=*) file="${argument#--file=}" ;; esac; done
echo "$@" > "$STUBS/asked"
echo dumped > "$file"
exit "${DUMP_ENDS:-0}"
"""
PG_RESTORE = """#!/bin/sh
exit "${RESTORE_ENDS:-0}"
"""


@pytest.fixture
def back_up(tmp_path):
    """Return a function that runs the script with programs that only pretend, and its folder."""
    folder, stubs = tmp_path / "backups", tmp_path / "stubs"
    for one in (folder, stubs):
        one.mkdir()
    for name, text in {"pg_dump": PG_DUMP, "pg_restore": PG_RESTORE}.items():
        (stubs / name).write_text(text)
        (stubs / name).chmod(0o700)
    (tmp_path / "password").write_text(PASSWORD)

    def run(**variables):
        return subprocess.run(
            ["/bin/sh", COMPONENT / "backup.sh"],
            env={
                "PATH": f"{stubs}:{os.environ['PATH']}",
                "STUBS": str(stubs),
                "BACKUP_DSN": "postgresql://backup@postgres:5432/backbone",
                "BACKUP_FOLDER": str(folder),
                "BACKUP_KEEP_DAYS": "14",
                "BACKUP_PASSWORD_FILE": str(tmp_path / "password"),
                "BACKUP_SCRATCH": str(tmp_path),
                **variables,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run, folder


def dump_of(folder, *, days):
    file = folder / f"backbone-{days}-days-ago.dump"
    file.write_text("earlier")
    then = time.time() - days * DAY - 60
    os.utime(file, (then, then))
    return file


def test_a_dump_that_is_whole_takes_the_place_of_those_that_are_too_old(back_up):
    run, folder = back_up
    old, young = dump_of(folder, days=16), dump_of(folder, days=13)
    (folder / "backbone-cut-off.dump.part").write_text("")

    done = run()

    assert done.returncode == 0, done.stderr
    assert not old.exists()
    (new,) = set(folder.iterdir()) - {young}
    assert re.fullmatch(r"backbone-\d{8}T\d{6}Z\.dump", new.name)
    assert stat.S_IMODE(new.stat().st_mode) == 0o600


@pytest.mark.parametrize("failing", ["DUMP_ENDS", "RESTORE_ENDS"])
def test_a_dump_that_fails_has_no_name_and_takes_no_earlier_one_away(back_up, failing):
    run, folder = back_up
    old = dump_of(folder, days=16)

    assert run(**{failing: "1"}).returncode != 0

    assert list(folder.glob("*.dump")) == [old]


def test_without_a_password_nothing_is_dumped(back_up, tmp_path):
    run, folder = back_up

    assert run(BACKUP_PASSWORD_FILE=str(tmp_path / "absent")).returncode != 0

    assert not list(folder.iterdir())


def test_the_password_is_in_a_file_of_its_own_and_in_no_argument(back_up, tmp_path):
    run, _ = back_up

    assert run().returncode == 0

    passwords = tmp_path / "pgpass"
    assert passwords.read_text() == "*:*:*:*:a\\:b\\\\c'd\n"
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
    assert "--no-password" in (tmp_path / "stubs/asked").read_text()
    assert PASSWORD not in (tmp_path / "stubs/asked").read_text()


def named(layer, kind, prefix):
    (found,) = (
        one
        for one in rendering.layer(layer)
        if one["kind"] == kind
        and re.fullmatch(f"{prefix}(-[a-z0-9]{{10}})?", one["metadata"]["name"])
    )
    return found


def pod_of(layer):
    return named(layer, "CronJob", "postgres-backup")["spec"]["jobTemplate"]["spec"]["template"]


@with_backups
def test_it_dumps_the_ledgers_database_as_a_role_of_its_own(layer):
    dsn = named(layer, "ConfigMap", "postgres-backup")["data"]["BACKUP_DSN"]
    ledger = named(layer, "ConfigMap", "ledger")["data"]["BACKBONE_POSTGRES_DSN"]
    registry = named(layer, "ConfigMap", "registry")["data"]["BACKBONE_POSTGRES_DSN"]
    assert dsn == ledger.replace("//ledger@", "//backup@")
    assert dsn == registry.replace("//registry@", "//backup@")


@with_backups
def test_everything_is_where_the_services_are_and_under_the_names_that_are_used(layer):
    home = named(layer, "Deployment", "ledger")["metadata"]["namespace"]
    (container,) = pod_of(layer)["spec"]["containers"]
    made = {
        (one["kind"], one["metadata"]["name"])
        for one in rendering.layer(layer)
        if one["metadata"].get("namespace") == home
    }
    for source in container["envFrom"]:
        assert ("ConfigMap", source["configMapRef"]["name"]) in made
    for volume in pod_of(layer)["spec"]["volumes"]:
        if "configMap" in volume:
            assert ("ConfigMap", volume["configMap"]["name"]) in made
        if claim := volume.get("persistentVolumeClaim"):
            assert ("PersistentVolumeClaim", claim["claimName"]) in made
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert all(
        str(Path(one["value"]).parent) in mounts | {"/"}
        for one in container["env"]
        if one["value"].startswith("/")
    )


@with_backups
def test_it_may_do_little_and_reaches_nobody_but_postgresql(layer):
    template = pod_of(layer)
    (container,) = template["spec"]["containers"]
    assert template["spec"]["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all("value" in one for one in container["env"]), "a secret is a file"
    assert {one["name"]: one["value"] for one in container["env"]}["PGSSLMODE"] == "verify-full"
    policy = named(layer, "NetworkPolicy", "postgres-backup")
    labels = policy["spec"]["podSelector"]["matchLabels"]
    assert set(labels.items()) <= set(template["metadata"]["labels"].items())
    assert "ingress" not in policy["spec"]
    (rule,) = policy["spec"]["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 5432}]
    (peer,) = rule["to"]
    assert list(peer["namespaceSelector"]["matchLabels"].values()) == ["backbone-data"]


@with_backups
def test_the_dump_is_made_by_the_version_that_runs_in_development(layer):
    compose = (ROOT / "docker-compose.dev.yml").read_text()
    images = set(re.findall(r"POSTGRES_IMAGE:-(postgres:[\d.]+)\}", compose))
    (container,) = pod_of(layer)["spec"]["containers"]
    assert {container["image"]} == images


def test_the_role_sees_past_the_policies_and_writes_nothing():
    sql = re.sub(r"--.*", "", (COMPONENT / "role.sql").read_text())
    (created,) = re.findall(r"CREATE ROLE (.*);", sql)
    assert set(created.split()) == {
        *("backup", "LOGIN", "NOSUPERUSER", "NOCREATEDB", "NOCREATEROLE", "BYPASSRLS"),
    }
    assert re.findall(r"GRANT (\S+)", sql) == ["CONNECT", "pg_read_all_data"]
