"""What can be said of a page's block without performing it: does what it names exist, and fit?

A command of ours is parsed by the program's own parser, a document is read by the model that reads
it, code is compiled and its imports are resolved.
"""

import ast
import functools
import importlib
import importlib.util
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pages
import shell_lines
import typer
import typer.main
import yaml
from pydantic import BaseModel, ValidationError
from reference import settings
from typer._click import exceptions as refusals

from cli.__main__ import app
from contracts.catalogue import Catalogue
from contracts.definitions import ActivityDefinition
from contracts.kinds import ResourceDocument
from contracts.resources import ResourceKind
from contracts.scheduletests import ScheduleTest
from devstack.command import application

ROOT = Path(__file__).parents[2]
FOREIGN = {
    *(".", "cat", "cp", "curl", "date", "echo", "eval", "export"),
    *("grep", "jq", "kill", "mkdir", "rm", "sed"),
    *("createdb", "docker", "helm", "kubectl", "kubeseal", "pg_restore", "psql", "vault"),
}
"""Programs that are not ours: that they exist is all that is known of them here."""
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
OTHERS_VARIABLES = {"BACKBONE_DEBUG", "BACKBONE_IMAGES", "BACKBONE_VERSION"}
"""Variables that no model of settings has: of the command itself, and of the compose files."""
_OF_MAKE = set(re.findall(r"\$\(([A-Z]+)\)|\$\(if \$\(([A-Z]+)\)", MAKEFILE))
_OTHERS_KEYS = {"rule_files", "scrape_config_files", "patches", "authorization"}
"""Of the configuration of Prometheus, kustomize and Temporal, which check their own."""
_VARIABLE = re.compile(r"\bBACKBONE_[A-Z_]*[A-Z]\b")


def problems(block: pages.Block) -> list[str]:
    """Return what is wrong with a block, a sentence each; nothing if it is sound."""
    check = _CHECKS.get(block.language)
    if check is None:
        known = ", ".join(sorted(_CHECKS))
        return [f"no check knows the language {block.language!r}: use one of {known}"]
    return [*check(block), *_unknown_variables(block.text)]


def _typed(block: pages.Block) -> Iterator[str]:
    lines = list(pages.commands(block))
    if not lines:
        yield "nothing is typed in it: is it of the language text?"
    for command in lines:
        parsed = subprocess.run(
            ["bash", "-n", "-c", command.line],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        if parsed.returncode:
            yield f"`{command.line}`: {parsed.stderr.strip()}"
            continue
        for words in shell_lines.calls(command.line):
            yield from (f"`{command.line}`: {problem}" for problem in _call(words))


def _call(words: tuple[str, ...]) -> Iterator[str]:
    program, *rest = words
    if program in FOREIGN:
        return
    name = program.rpartition("/")[2]
    if name in {"backbone", "devstack"}:
        yield from _parsed(name, rest)
    elif name == "make":
        yield from _made(rest)
    elif name in {"python", "python3"}:
        yield from _run(rest)
    elif not (ROOT / program).exists():
        yield f"{program} is neither a program of ours nor one that snippets.py knows"


@functools.cache
def _command(name: str) -> Any:
    return typer.main.get_command({"backbone": app, "devstack": application}[name])


def _parsed(name: str, words: list[str]) -> Iterator[str]:
    """Have the program's own parser take the words, down to the command that would be called."""
    command, parent = _command(name), None
    try:
        while True:
            context = command.make_context(name, [*words], parent=parent)
            if not hasattr(command, "commands"):
                return
            rest = [*context._protected_args, *context.args]
            if not rest and command.invoke_without_command:
                return
            name, command, words = command.resolve_command(context, rest)
            parent = context
    except typer.Exit:
        return  # --help
    except refusals.UsageError as refusal:
        yield refusal.format_message()


def _made(words: list[str]) -> Iterator[str]:
    of_make = {name for names in _OF_MAKE for name in names if name}
    for word in words:
        name, is_variable, _ = word.partition("=")
        if is_variable and name not in of_make:
            yield f"the Makefile knows no variable {name}"
        elif not is_variable and name not in TARGETS:
            yield f"the Makefile has no target {name}"


def _run(words: list[str]) -> Iterator[str]:
    match words:
        case ["-m", module, *_]:
            below = ROOT.glob(f"examples/*/{module}")  # with its folder in PYTHONPATH
            if importlib.util.find_spec(module) is None and not any(below):
                yield f"there is no module {module}"
        case ["-c", code, *_]:
            ast.parse(code)


def _documents(block: pages.Block) -> Iterator[str]:
    try:
        documents = [one for one in yaml.safe_load_all(block.text) if one is not None]
    except yaml.YAMLError as exc:
        yield f"it is no YAML: {exc}"
        return
    if len(documents) > 1:
        yield "a file holds one resource: show each in a block of its own"
    for document in documents:
        yield from _document(document)


def _document(document: Any) -> Iterator[str]:
    if not isinstance(document, Mapping):
        yield "it is neither a resource nor a part of one"
        return
    version = str(document.get("apiVersion", ""))
    if version.startswith("backbone/"):
        kind = document.get("kind")
        models: Mapping[object, type[BaseModel]] = {
            **dict.fromkeys(ResourceKind, ResourceDocument),
            "ScheduleTest": ScheduleTest,
        }
        if kind not in models:
            yield f"there is no kind {kind}"
        else:
            yield from _refused(models[kind], document)
    elif version:
        if not re.search(r"\.(k8s|strimzi|keda)\.", version) and version != "v1":
            yield f"nobody here knows the API {version}"
    elif document.keys() <= _OTHERS_KEYS:
        return
    elif document.keys() & {"connectors", "handlers", "topics"}:
        yield from _refused(Catalogue, document)
    else:
        yield from _part(document)


def _part(document: Mapping[str, Any]) -> Iterator[str]:
    """Check a part of a definition by putting it where it belongs."""
    task = {"type": "automated", "handler": "shown", "taskQueue": "shown-tq"}
    spec: dict[str, Any] = {
        "taskQueue": "shown-tq",
        "triggers": [{"name": "shown", "event": {"type": "shown.shown"}}],
        "rules": [{"name": "shown", "task": task}],
    }
    if document.keys() == {"task"}:
        spec["rules"][0] |= document
    elif document.keys() == {"spec"}:
        spec |= document["spec"]
    elif document.keys() <= {*spec, "context", "instance", "mode", "onFailure", "whileDisabled"}:
        spec |= document
    else:
        yield f"no document of ours has {', '.join(document)}"
        return
    metadata = {"id": "shown.shown", "namespace": "dev", "owner": "shown"}
    whole = {"apiVersion": "backbone/v1", "kind": "ActivityDefinition", "metadata": metadata}
    yield from _refused(ActivityDefinition, {**whole, "spec": spec})


def _refused(model: type[BaseModel], document: object) -> Iterator[str]:
    try:
        model.model_validate(document)
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            yield f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


def _code(block: pages.Block) -> Iterator[str]:
    try:
        tree = compile(
            block.text, "shown", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
    except SyntaxError as exc:
        yield f"line {exc.lineno} of it is no Python: {exc.msg}"
        return
    imported: dict[str, Any] = {}
    for node in ast.walk(tree):
        try:
            if isinstance(node, ast.Import):
                imported |= {
                    one.asname or one.name: importlib.import_module(one.name) for one in node.names
                }
            elif isinstance(node, ast.ImportFrom):
                for one in node.names:
                    imported[one.asname or one.name] = _imported(str(node.module), one.name)
        except ImportError as exc:
            yield str(exc)
    # What is taken from an imported module is there, too.
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = imported.get(node.value.id, node)
            if module is not node and not hasattr(module, node.attr):
                yield f"{node.value.id} has no {node.attr}"


def _imported(module: str, name: str) -> Any:
    found = importlib.import_module(module)
    if hasattr(found, name):
        return getattr(found, name)
    return importlib.import_module(f"{module}.{name}")


def _json(block: pages.Block) -> Iterator[str]:
    try:
        json.loads(block.text)
    except ValueError as exc:
        yield f"it is no JSON: {exc}"


def _words(block: pages.Block) -> Iterator[str]:
    if typed := re.findall(r"^\s*(?:\$ .*|backbone .*|make .*)$", block.text, re.MULTILINE):
        yield f"`{typed[0].strip()}` is typed, and text is not: use console or sh"


def _sql(block: pages.Block) -> Iterator[str]:
    functions = set(re.findall(r"\b([a-z_]+)\(", block.text))
    made = {
        name
        for file in ROOT.glob("**/src/**/*.sql")
        for name in re.findall(r"CREATE (?:OR REPLACE )?FUNCTION (?:\w+\.)?(\w+)", file.read_text())
    }
    yield from (f"no migration makes the function {name}" for name in functions - made)


def _unknown_variables(text: str) -> Iterator[str]:
    for name in sorted(set(_VARIABLE.findall(text)) - _variables() - OTHERS_VARIABLES):
        yield f"no settings have {name}"


@functools.cache
def _variables() -> frozenset[str]:
    return frozenset(
        settings.variable(model, name)
        for _, model in settings.models()
        for name in model.model_fields
    )


_CHECKS: Mapping[str, Callable[[pages.Block], Iterator[str]]] = {
    "console": _typed,
    "sh": _typed,
    "yaml": _documents,
    "python": _code,
    "json": _json,
    "sql": _sql,
    "text": _words,
}
"""By language; `text` is for what nobody types: diagrams, and what is printed."""
