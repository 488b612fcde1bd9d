"""What the documents name exists: links, paths, make targets, modules, commands; examples apply."""

import importlib.util
import re
import shlex
import struct
from pathlib import Path

import pages
import pytest
import reference
import typer
import yaml

from cli.__main__ import app
from cli.doctor_findings import SEVERITY
from contracts.catalogue import Catalogue
from contracts.definitions import ActivityDefinition
from contracts.eventtypes import EventType
from contracts.kinds import ResourceDocument
from contracts.producers import Producer
from contracts.resources import ResourceKind
from rules import checks

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "deploy/**/*.md",
        "benchmarks/*.md",
        "examples/**/*.md",
        "libs/*/*.md",
        "services/*/*.md",
        "tools/*/*.md",
    )
    for path in ROOT.glob(pattern)
)
MOST_OF_A_PICTURE = 80_000  # bytes
SCRIPTS = (*DOCUMENTS, ROOT / "docker-compose.yml", ROOT / "docker-compose.dev.yml")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
TOP = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
TOP.discard("build")  # What targets of make write, there or not.
# Pages of the site that are not checked in; test_site.py builds them, links and all.
GENERATED = {ROOT / "docs" / place for place in reference.PAGES}
each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def _anchors(markdown):
    headings = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _code(markdown):
    """Return the inline code and the lines of code blocks."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", markdown, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE)
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    return inline + [line.strip() for block in blocks for line in block.splitlines()]


def test_the_documents_a_reader_begins_with_are_there():
    names = {path.relative_to(ROOT).as_posix() for path in DOCUMENTS}
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"} <= names
    assert {"docs/architecture.md", "docs/glossary.md", "docs/adr/README.md"} <= names


@each_document
def test_relative_links_lead_somewhere(document):
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        if found in GENERATED:
            continue
        if not found.exists() or (anchor and anchor not in _anchors(found.read_text())):
            missing.append(target)
    assert not missing


def test_each_image_is_shown_with_words_for_who_does_not_see_it():
    shown = {}
    for document in DOCUMENTS:
        for words, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", document.read_text()):
            assert words, f"{document.relative_to(ROOT)} shows {target} without words"
            shown[(document.parent / target).resolve()] = words
    images = {path for path in (ROOT / "docs" / "images").rglob("*") if path.is_file()}
    assert set(shown) == images


def test_pictures_of_the_console_are_small_of_one_size_and_say_that_data_is_generated():
    page = ROOT / "docs" / "console.md"
    shown = dict(re.findall(r"!\[([^\]]*)\]\(images/console/([^)]+)\)", page.read_text()))
    assert shown
    assert [words for words in shown if "generated" not in words] == []
    contents = [(page.parent / "images" / "console" / name).read_bytes() for name in shown.values()]
    assert max(map(len, contents)) <= MOST_OF_A_PICTURE
    # Of a PNG the first chunk begins with its width and height.
    assert len({struct.unpack(">II", content[16:24]) for content in contents}) == 1


@each_document
def test_paths_in_code_exist(document):
    missing = []
    for code in _code(document.read_text()):
        for word in code.split():
            # A test is named as pytest names it: path::function.
            path = word.strip("\"'`,;()[]").partition("::")[0].removesuffix("/")
            if path.partition("/")[0] not in TOP or "/" not in path or re.search(r"[<{*…]", path):
                continue
            if not (ROOT / path).exists() and not (document.parent / path).exists():
                missing.append(path)
    assert not missing


@each_document
def test_make_targets_exist(document):
    named = {
        target
        for code in _code(document.read_text())
        for target in re.findall(r"\bmake ([a-z][a-z-]*)", code)
    }
    assert named <= TARGETS


def test_help_of_the_makefile_lists_every_phony_target():
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (\S+)", makefile, re.MULTILINE))
    helped = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert phony <= helped


@each_document
def test_modules_that_are_run_exist(document):
    for code in _code(document.read_text()):
        for module in re.findall(r"python3? -m ([a-z][\w.]*)", code):
            if module == "benchmarks":
                assert (ROOT / "benchmarks" / "__main__.py").exists()
            else:
                assert importlib.util.find_spec(module), f"python -m {module}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_of_the_cli_exist(path):
    text = path.read_text()
    lines = _code(text) if path.suffix == ".md" else text.splitlines()
    root = typer.main.get_command(app)
    for line in (line.removeprefix("$ ") for line in lines):
        if not line.startswith("backbone "):
            continue
        words = shlex.split(line, comments=True)[1:]
        command = root
        while words and hasattr(command, "commands") and words[0][0].islower():
            assert words[0] in command.commands, f"no such command: {line}"
            command = command.commands[words.pop(0)]
        options = {o for parameter in command.params for o in parameter.opts} | {"--help"}
        options |= {o for parameter in root.params for o in parameter.opts}
        assert {word for word in words if re.match(r"--[a-z]", word)} <= options, line


# Those of the tutorial are applied by its test, a slip that is to be found among them.
PAGES = [
    ROOT / "README.md",
    *sorted(set(ROOT.glob("docs/**/*.md")) - set(ROOT.glob("docs/tutorial/*.md"))),
]
EXAMPLES = sorted((ROOT / "examples" / "definitions").glob("*.yaml"))


def _resources(text):
    """Return the resources that YAML holds; other documents are left out."""
    return [
        ResourceDocument.model_validate(document).root
        for document in yaml.safe_load_all(text)
        if isinstance(document, dict) and document.get("kind") in set(ResourceKind)
    ]


def _shown(path):
    blocks = [block.text for block in pages.blocks(path) if block.language == "yaml"]
    return [resource for text in blocks for resource in _resources(text)]


def _problems(resource, surroundings):
    if isinstance(resource, EventType):
        return checks.event_type_problems(resource)
    if isinstance(resource, Producer):
        return checks.producer_problems(resource, surroundings)
    return checks.problems(resource, surroundings)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_resources_shown_can_be_applied_beside_the_examples(path):
    shown = _shown(path)
    if path == ROOT / "README.md":
        assert any(isinstance(resource, ActivityDefinition) for resource in shown)
    beside = [resource for example in EXAMPLES for resource in _resources(example.read_text())]
    surroundings = checks.Surroundings(
        event_types={
            one.metadata.id: {schema.version: schema.schema_ for schema in one.spec.schemas}
            for one in [*beside, *shown]
            if isinstance(one, EventType)
        },
        catalogue=Catalogue.model_validate(
            yaml.safe_load((ROOT / "examples" / "catalogue.yaml").read_text())
        ),
    )
    assert {
        one.metadata.id: [str(problem) for problem in _problems(one, surroundings)] for one in shown
    } == {one.metadata.id: [] for one in shown}


def test_every_record_is_in_the_index_and_has_its_parts():
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text()
    records = sorted(folder.glob("[0-9]*.md"))
    assert [path.name[:3] for path in records] == [f"{n:03}" for n in range(1, len(records) + 1)]
    for path in records:
        text = path.read_text()
        assert f"({path.name})" in index
        assert text.startswith(f"# {path.name[:3]}: ")
        parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert parts == [
            "Context",
            "Decision",
            "Consequences",
            "Alternatives",
            "What enforces it",
        ]
        assert re.search(r"^## Decision\n\n> ", text, re.MULTILINE), (
            f"{path.name}: no quotable line"
        )


def test_every_finding_of_the_doctor_is_explained_with_its_severity():
    text = (ROOT / "docs" / "doctor.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    assert [(kind, severity) for kind, severity, _, _ in rows] == [
        (kind.value, severity.value) for kind, severity in SEVERITY.items()
    ]
