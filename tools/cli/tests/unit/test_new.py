import re
import subprocess
import sys

import pytest
import yaml

from cli.projects import Project
from contracts.definitions import ActivityDefinition
from contracts.eventtypes import EventType
from contracts.kinds import ResourceDocument
from contracts.producers import Producer
from rules import checks
from runtime import catalogue, yamlfiles


def test_files_are_written_and_what_is_applied_is_sound(backbone, nowhere):
    result = backbone("new", "order-desk", "--owner", "sales", "-n", "stage")
    assert result.exit_code == 0, result.output
    assert "created  order-desk/definitions/process-item.yaml" in result.stdout
    folder = nowhere / "order-desk"
    assert (folder.stat().st_mode & 0o777) == 0o755
    resources = [
        ResourceDocument.model_validate(yamlfiles.parse(path.read_text())).root
        for path in sorted((folder / "definitions").iterdir())
    ]
    (event_type, definition, producer) = resources
    assert isinstance(event_type, EventType)
    assert isinstance(definition, ActivityDefinition)
    assert isinstance(producer, Producer)
    for one in resources:
        assert (one.metadata.namespace, one.metadata.owner) == ("stage", "sales")
    surroundings = checks.Surroundings(
        event_types={
            event_type.metadata.id: {s.version: s.schema_ for s in event_type.spec.schemas}
        },
        catalogue=catalogue.load(folder / "catalogue.yaml"),
    )
    assert checks.problems(definition, surroundings) == []
    assert checks.producer_problems(producer, surroundings) == []
    event = yaml.safe_load((folder / "event.json").read_text())
    assert producer.may_emit(source=event["source"], event_type=event["type"])


def test_its_own_tests_pass(backbone, nowhere):
    assert backbone("new", "own").exit_code == 0
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=nowhere / "own",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    assert told.returncode == 0, told.stdout
    assert "4 passed" in told.stdout


@pytest.mark.parametrize(
    "name", ["", "Orders", "1st", "a_b", "a--b", "a-", "-n", "../up", "a/b", "a b", "ä", "a" * 41]
)
def test_what_is_no_name_is_refused_and_nothing_written(backbone, nowhere, name):
    result = backbone("new", "--", name)
    assert result.exit_code == 2
    assert "is no name for a project" in result.stderr
    assert list(nowhere.iterdir()) == []


@pytest.mark.parametrize("words", [("--owner", "A B"), ("-n", "no:name")])
def test_owner_and_namespace_are_names(backbone, nowhere, words):
    result = backbone("new", "orders", *words)
    assert result.exit_code == 2
    assert "is a name such as" in result.stderr
    assert list(nowhere.iterdir()) == []


def test_folder_that_holds_something_is_left_alone(backbone, nowhere):
    (nowhere / "orders").mkdir()
    (nowhere / "orders" / "mine.txt").write_text("mine")
    result = backbone("new", "orders")
    assert result.exit_code == 1
    assert "orders is there and not empty: choose another folder" in result.stderr
    assert [path.name for path in nowhere.rglob("*")] == ["orders", "mine.txt"]


def test_empty_folder_is_filled(backbone, nowhere):
    (nowhere / "here").mkdir()
    result = backbone("new", "orders", "--folder", "here", "-o", "json")
    assert result.exit_code == 0, result.output
    assert (nowhere / "here" / "handlers.py").is_file()
    assert [path.name for path in nowhere.iterdir()] == ["here"]


def test_no_placeholder_is_left_and_no_line_is_too_long():
    for path, text in Project(name="a" * 8, namespace="dev", owner="team").rendered():
        assert not re.search(r"\$(name|namespace|owner)\b", text), path
        if path.suffix == ".py":
            assert max(map(len, text.splitlines())) <= 100, path
