"""The command line that every service shares."""

import subprocess
import sys

import pytest
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime import commands
from runtime.commands import Check
from runtime.errors import ConfigurationError


def run(*words, serve=None, check=None, migrate=None, extra=None):
    async def nothing():
        return []

    with pytest.raises(SystemExit) as caught:
        commands.run(
            "outbox-relay",
            serve=serve or nothing,
            check=check or nothing,
            migrate=migrate,
            extra=extra,
            arguments=words,
            end=sys.exit,
        )
    return caught.value.code


def test_an_unknown_word_is_answered_with_the_usage(capsys):
    assert run("fly") == 2
    assert "python -m outbox_relay serve | check" in capsys.readouterr().err


def test_a_service_without_a_database_does_not_migrate():
    assert run("migrate") == 2


def test_a_missing_setting_is_named(capsys):
    class Settings(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="BACKBONE_")
        no_such_setting: str

    async def serve():
        Settings()

    assert run("serve", serve=serve) == 2
    assert "BACKBONE_NO_SUCH_SETTING: Field required" in capsys.readouterr().err


def test_an_absent_neighbour_is_one_sentence(capsys):
    async def serve():
        raise ConfigurationError("cannot listen on 127.0.0.1:1")

    assert run("serve", serve=serve) == 1
    assert capsys.readouterr().err == "outbox-relay: cannot listen on 127.0.0.1:1\n"


def test_check_fails_when_one_thing_fails(capsys):
    async def check():
        return [Check("kafka", ok=True, detail="here"), Check("redis", ok=False, detail="away")]

    assert run("check", check=check) == 1
    assert "FAIL redis: away" in capsys.readouterr().err


async def test_a_probe_that_raises_is_a_failed_check():
    async def question():
        raise OSError("no route to host")

    found = await commands.probe("kafka", question)
    assert found == Check("kafka", ok=False, detail="no route to host")


def test_migrate_says_what_it_applied(capsys):
    assert run("migrate", migrate=lambda: ["0001_pre_x"]) == 0
    assert "applied 0001_pre_x" in capsys.readouterr().err


def test_a_command_of_the_services_own_says_what_it_did(capsys):
    async def rebuild():
        return ["dev: 3 resources", "stage: 1 resource"]

    assert run("rebuild", extra={"rebuild": rebuild}) == 0
    assert capsys.readouterr().err == "dev: 3 resources\nstage: 1 resource\n"


def test_a_command_of_the_services_own_fails_in_one_sentence(capsys):
    async def rebuild():
        raise ConfigurationError("migrations are missing")

    assert run("rebuild", extra={"rebuild": rebuild}) == 1
    assert capsys.readouterr().err == "outbox-relay: migrations are missing\n"


def test_the_usage_names_the_services_own_commands(capsys):
    async def rebuild():
        return []

    assert run("fly", extra={"rebuild": rebuild}) == 2
    assert "serve | check | rebuild" in capsys.readouterr().err


def test_what_a_process_leaves_behind_cannot_change_how_it_ended():
    """A thread that lives on is not waited for, what was written is out, the code is told."""
    lines = (
        "import sys, threading",
        "from runtime import commands",
        "threading.Thread(target=threading.Event().wait).start()",
        "async def nothing(): return []",
        "print('told')",
        "commands.run('ledger', serve=nothing, check=nothing)",
    )
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), "fly"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == b"told\n"
    assert b"serve | check" in ended.stderr
