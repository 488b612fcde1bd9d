"""Which test performs what the pages have their readers type: section by section.

`tests/contract/test_snippets.py` holds it to the pages and to the tests. Whatever is typed is
parsed besides, by `snippets`; what nothing performs is listed here too, with the reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pages

ROOT = Path(__file__).parents[2]
_TUTORIAL = "tests/tutorial/test_tutorial.py::test_the_tutorial_is_followed_word_by_word"
_RUNBOOKS = "tests/e2e/test_runbooks.py::test_every_runbook_is_performed"
_BUILDS = "tests/contract/test_worker_builds.py"
_HOWTO = "tests/howto/test_howto.py"
_EXAMPLES = "examples/tests/test_on_stack.py"
_SUITE = "tools/devstack/tests/integration/test_suite.py"

Section = tuple[str, str]
"""A page, from the root, and a heading in it."""


@dataclass(frozen=True)
class Performed:
    """A test does what the section says: it takes the lines from the page, or has its own words."""

    test: str
    by_the_page: bool = True


@dataclass(frozen=True)
class OnlyParsed:
    """No test performs the section; why."""

    reason: str


Claim = Performed | OnlyParsed


def _own_words(test: str) -> Performed:
    return Performed(test, by_the_page=False)


_NO_CLUSTER = OnlyParsed("there is no cluster and no engine of containers; manifests are rendered")
_A_SECURE_STACK = OnlyParsed("needs a secure stack and somebody's token")
_THE_TESTS = OnlyParsed("runs the tests themselves")

WHOLE_PAGES: Mapping[str, Claim] = {
    **{
        path.relative_to(ROOT).as_posix(): Performed(_TUTORIAL)
        for path in (ROOT / "docs" / "tutorial").glob("*.md")
    },
    **{
        path.relative_to(ROOT).as_posix(): Performed(_RUNBOOKS)
        for path in (ROOT / "docs" / "runbooks").glob("*.md")
    },
    "docs/runbooks/replace-a-build.md": Performed(
        f"{_BUILDS}::test_the_runbook_takes_away_what_it_has_drained"
    ),
    "docs/runbooks/restore.md": Performed(
        "services/ledger/tests/integration/test_backup.py::test_what_was_dumped_is_all_there_after_a_restore"
    ),
    "deploy/kustomize/README.md": _NO_CLUSTER,
    "tests/chaos/README.md": _own_words("tests/chaos/test_smoke.py"),
}
"""Pages all of whose sections have one claim."""

SECTIONS: Mapping[Section, Claim] = {
    ("README.md", "Two commands"): _own_words("examples/tests/test_demo.py"),
    ("README.md", "Ten lines of your own"): Performed(_HOWTO),
    ("CONTRIBUTING.md", "Set up"): _own_words("tools/devstack/tests/integration/test_command.py"),
    ("CONTRIBUTING.md", "Test"): _THE_TESTS,
    ("CONTRIBUTING.md", "Check a producer or consumer of your own"): _own_words(
        "tools/cli/tests/integration/test_contract.py"
    ),
    ("docs/authorisation.md", "The command"): _A_SECURE_STACK,
    ("docs/authorisation.md", "On one machine"): _own_words("tests/secure/test_tokens.py"),
    ("docs/backtest.md", "Simulate"): Performed(_HOWTO),
    ("docs/backtest.md", "Over what is there now"): Performed(_HOWTO),
    ("docs/backtest.md", "Backtest"): Performed(_HOWTO),
    ("docs/backtest.md", "Shadow"): Performed(_HOWTO),
    ("docs/console.md", "The console"): _own_words(
        "tools/devstack/tests/integration/test_command.py"
    ),
    ("docs/console.md", "Signing in at an issuer"): _own_words(
        "tests/secure/test_console_browser.py"
    ),
    ("docs/console.md", "In a browser"): _THE_TESTS,
    ("docs/context.md", "What is not kept"): Performed(_HOWTO),
    ("docs/dead-letters.md", "Working dead letters off"): Performed(_HOWTO),
    ("docs/definitions.md", "At the command line"): Performed(_HOWTO),
    ("docs/doctor.md", "What is wrong: `backbone doctor`"): Performed(_HOWTO),
    ("docs/encryption.md", "Keys"): Performed(_HOWTO),
    ("docs/erasure.md", "Look at values"): Performed(_HOWTO),
    ("docs/erasure.md", "Erase"): Performed(_HOWTO),
    ("docs/erasure.md", "Keys of people and data keys"): Performed(_HOWTO),
    ("docs/event-replay.md", "Routing past events again"): Performed(_HOWTO),
    ("docs/handlers.md", "Built-in handlers"): _own_words("tests/e2e/test_builtins.py"),
    ("docs/human-tasks.md", "At the command line"): Performed(_HOWTO),
    ("docs/kill-switch.md", "Kill switches"): Performed(_HOWTO),
    ("docs/observability.md", "Logs"): OnlyParsed("jq is no program of the stack"),
    ("docs/schedules.md", "Looking ahead"): Performed(_HOWTO),
    ("docs/schedules.md", "Tests"): Performed(_HOWTO),
    ("docs/signatures.md", "A producer that signs"): Performed(_HOWTO),
    ("docs/signatures.md", "Rotate, revoke"): Performed(_HOWTO),
    ("docs/signatures.md", "What Backbone emits"): Performed(_HOWTO),
    ("docs/stateful.md", "Looking at instances"): Performed(_HOWTO),
    ("docs/transport.md", "A service's certificates"): _own_words("tests/secure/test_first_run.py"),
    ("docs/transport.md", "Temporal"): _own_words("tests/secure/test_temporal.py"),
    ("docs/transport.md", "A secure suite of containers"): _NO_CLUSTER,
    ("docs/transport.md", "A secure stack on one machine"): _own_words(
        "tests/secure/test_tenants.py"
    ),
    ("examples/README.md", "The demo"): _own_words("examples/tests/test_demo.py"),
    ("examples/README.md", "By hand"): _own_words("examples/tests/test_demo.py"),
    ("examples/consumer/README.md", "A consumer with exactly-once effect"): _own_words(
        "examples/tests/test_consumer.py"
    ),
    ("examples/nightly-report/README.md", "Try the schedule"): Performed(_HOWTO),
    ("examples/nightly-report/README.md", "Run it"): _own_words(_EXAMPLES),
    ("examples/order-saga/README.md", "Run it"): _own_words(_EXAMPLES),
    ("examples/sensor-alarm/README.md", "Run it"): _own_words(_EXAMPLES),
    ("examples/webhook-triage/README.md", "Run it"): _own_words(_EXAMPLES),
    ("libs/sdk/README.md", "Order"): _own_words("libs/sdk/tests/integration/inbox/test_store.py"),
    **{
        (f"services/{name}/README.md", "Run"): _own_words(_SUITE)
        for name in ("console", "ledger", "outbox-relay", "registry", "router")
    },
    ("tools/cli/README.md", "A project to begin with"): Performed(_HOWTO),
    ("tools/cli/README.md", "Definitions, event types and producers"): Performed(
        "tools/cli/tests/integration/test_registry.py"
    ),
    ("tools/cli/README.md", "In a pipeline"): Performed(_HOWTO),
    ("tools/cli/README.md", "Runs, events and tasks"): Performed(_HOWTO),
    ("tools/cli/README.md", "Before a version counts"): Performed(_HOWTO),
    ("tools/cli/README.md", "Dead letters"): Performed(_HOWTO),
    ("tools/cli/README.md", "Outboxes"): Performed(_HOWTO),
    ("tools/cli/README.md", "Audit"): Performed(_HOWTO),
    ("tools/cli/README.md", "What is wrong"): Performed(_HOWTO),
    ("tools/cli/README.md", "Certificates for development"): Performed(_HOWTO),
}
"""Sections in which something is typed, and what is claimed of each."""


def documents() -> list[Path]:
    """Return the pages whose blocks are held to something: all but the decision records."""
    patterns = (
        *("*.md", "docs/**/*.md", "deploy/**/*.md", "benchmarks/*.md", "examples/**/*.md"),
        *("libs/*/*.md", "services/*/*.md", "tools/*/*.md", "tests/*/*.md"),
    )
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(path for path in found if ROOT / "docs" / "adr" not in path.parents)


def claim(block: pages.Block) -> Claim | None:
    """Return what is claimed of a block that is typed; None if nothing is."""
    page = block.page.relative_to(ROOT).as_posix()
    return WHOLE_PAGES.get(page) or SECTIONS.get((page, block.section))


def typed() -> Iterator[pages.Block]:
    """Yield every block that a page has its reader type."""
    for page in documents():
        yield from (block for block in pages.blocks(page) if block.language in pages.TYPED)
