"""The site of docs/: it builds strictly, and its reference has everything that the code has."""

import re
import subprocess
import sys
from pathlib import Path

import gfm
import pytest
import reference
import repository
import yaml
from reference import commands, grpc, language, metrics, settings

from cli.commands import NAMED
from contracts.events import PAYLOAD_OF
from contracts.telemetry import Attribute, Metric, Span

ROOT = Path(__file__).parents[2]
ELSEWHERE = re.compile(r'<(?:script|link|img)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*"')


def headings(page):
    return re.findall(r"^## (.+)$", page, re.MULTILINE)


def rows(page):
    """Return the first cells of the page's tables, without those of their heads."""
    return re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)


def test_it_builds_strictly_and_fetches_nothing_from_elsewhere(tmp_path):
    built = build(ROOT / "mkdocs.yml", tmp_path / "site")
    assert built.returncode == 0, built.stdout
    for page in ("index.html", "guarantees.html", "runbooks/index.html", "adr/index.html"):
        text = (tmp_path / "site" / page).read_text()
        links = [one for one in ELSEWHERE.findall(text) if 'rel="canonical"' not in one]
        assert links == []
    # A numbered step of a runbook keeps its block, though it is indented by three.
    step = (tmp_path / "site" / "runbooks" / "kill-switch.html").read_text()
    assert "```" not in step


def test_a_broken_link_and_an_unlisted_page_fail(tmp_path):
    config = small_site(tmp_path, "# One\n\n[nothing](nowhere.md) [a part](#that-is-not-there)\n")
    (tmp_path / "docs" / "unlisted.md").write_text("# Two\n")
    built = build(config, tmp_path / "site")
    assert built.returncode != 0
    for complaint in ("nowhere.md", "#that-is-not-there", "unlisted.md"):
        assert complaint in built.stdout


def test_a_link_to_a_file_that_the_clone_does_not_have_fails():
    with pytest.raises(repository.Missing, match=r"docs/a.md links to ../nowhere.py"):
        list(repository.linked("[nothing](../nowhere.py)", "a.md"))


def build(config, site):
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config, "-d", site],
        env={"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )


def small_site(folder, page):
    """Write a site of one page and the reference, which is built as ours is."""
    text = (ROOT / "mkdocs.yml").read_text()
    hooks = ROOT / "docs" / "site" / "hooks.py"
    text = text[: text.index("\nnav:")].replace("docs/site/hooks.py", str(hooks))
    (folder / "docs").mkdir()
    (folder / "docs" / "index.md").write_text(page)
    nav = yaml.safe_dump({"nav": ["index.md", *reference.PAGES]})
    (folder / "mkdocs.yml").write_text(f"{text}\n{nav}")
    return folder / "mkdocs.yml"


def test_every_setting_of_every_process_is_there():
    page = settings.page()
    for process, model in settings.models():
        part = page.split(f"\n## {process}\n")[1].split("\n## ")[0]
        assert rows(part) == [settings.variable(model, name) for name in model.model_fields]
    folders = {path.name for path in (ROOT / "services").iterdir() if path.is_dir()}
    assert folders <= set(settings.PROCESSES)


def test_every_command_is_there_with_its_help():
    titles = headings(commands.page())
    named = [words for words, _ in commands.tree()]
    assert [title for title in titles if title.startswith("backbone ")] == named
    assert {words.split()[1] for words in named} == set(NAMED)
    assert [words for words, command in commands.tree() if not command.help] == []


def test_every_type_and_field_of_the_language_is_there():
    page, schema = language.page(), language.schema()
    assert set(headings(page)) == set(schema["$defs"])
    for name, one in schema["$defs"].items():
        part = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert rows(part) == list(one.get("properties", {}))


def test_every_metric_span_and_attribute_is_there_and_metrics_are_explained():
    page = metrics.page()
    assert rows(page) == [*Metric, *Span, *Attribute]
    unexplained = {
        metric for metric, one in metrics.instruments().items() if not one.description
    } | (set(Metric) - set(metrics.instruments()))
    assert unexplained == set()


def test_every_event_is_there():
    assert headings(reference.PAGES["reference/events.md"]()) == ["The envelope", *PAYLOAD_OF]


def test_every_rpc_and_message_is_there():
    page = grpc.page()
    text = "\n".join(path.read_text() for path in (ROOT / "proto").rglob("*.proto"))
    rpcs = re.findall(r"^  rpc (\w+)", text, re.MULTILINE)
    assert sorted(name for name in rows(page) if name in set(rpcs)) == sorted(rpcs)
    declared = re.findall(r"^ *(?:service|message|enum) (\w+) \{", text, re.MULTILINE)
    assert sorted(title.rpartition(".")[2] for title in headings(page)) == sorted(declared)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a\n- b\n- c", "a\n\n- b\n- c"),
        ("1. a\n\n   b", "1. a\n\n    b"),
        ("- a\n  - b\n    c", "- a\n    - b\n        c"),
        ("a\n| b |\n|---|", "a\n\n| b |\n|---|"),
        ("```\na\n- b\n```", "```\na\n- b\n```"),
        ("1. a\n\n   ```\n   b\n   ```\n\nc", "1. a\n\n    ```\n    b\n    ```\n\nc"),
    ],
)
def test_lists_and_tables_are_read_as_github_reads_them(written, read):
    assert gfm.adapted(written) == read


def test_links_lead_to_where_a_file_stands_in_the_site():
    assert repository.mapped("[a](../services/router/README.md#b)", "c.md") == (
        "[a](source/services/router/README.md#b)"
    )
    assert repository.mapped("[a](../../examples/billing.sql)", "adr/c.md") == (
        "[a](../source/examples/billing.sql.md)"
    )
    assert repository.mapped("[a](../../docs/runs.md#b)", "source/libs/sdk/README.md") == (
        "[a](../../../runs.md#b)"
    )
    assert repository.mapped("```\n[a](../b.py)\n```", "c.md") == "```\n[a](../b.py)\n```"
