"""Reading the operator's catalogue."""

from datetime import timedelta

import pytest

from contracts.catalogue import Catalogue
from runtime import catalogue
from runtime.errors import ConfigurationError

USABLE = """
connectors:
  billing-db:
    postgres:
      dsnEnv: BILLING_DSN
      statementTimeout: 3s
      statements:
        overdue:
          sql: SELECT id FROM invoices WHERE due < $1
          parameters: [{name: until, type: timestamptz}]
          result:
            type: array
            items: {type: object, properties: {state: {enum: [on, off]}}}
            description: since 2026-01-01
            x-since: 2026-01-01
handlers:
  send-reminder: {taskQueue: notifications-tq}
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "catalogue.yaml"


def test_connectors_and_handlers_are_read(file):
    file.write_text(USABLE)
    found = catalogue.load(file)
    connector = found.connectors["billing-db"].postgres
    assert connector.statement_timeout == timedelta(seconds=3)
    assert list(connector.statements) == ["overdue"]
    assert found.handlers is not None
    assert found.handlers["send-reminder"].task_queue == "notifications-tq"


def test_words_and_dates_in_a_schema_stay_text(file):
    file.write_text(USABLE)
    result = catalogue.load(file).connectors["billing-db"].postgres.statements["overdue"].result
    assert result["items"]["properties"]["state"]["enum"] == ["on", "off"]
    assert result["x-since"] == "2026-01-01"


def test_without_a_path_the_catalogue_is_empty():
    assert catalogue.load(None) == Catalogue()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("connectors: [", "is not YAML: "),
        ("connectors: {a: {}}\nconnectors: {}", "the key 'connectors' appears twice"),
        ("handlers: {send: {taskQueue: elsewhere}}", "handlers.send.taskQueue: "),
        ("connector: {}", "connector: Extra inputs are not permitted"),
        ("", "file: "),
        ("!!python/object:os.system {}", "is not YAML: "),
        ("[" * 5000, "is not YAML: "),
        ("handlers: !!int twelve", "is not YAML: "),
    ],
)
def test_what_is_wrong_is_told_in_one_line(file, text, told):
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        catalogue.load(file)
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"catalogue {file}")
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(file):
    with pytest.raises(ConfigurationError, match=f"catalogue {file} cannot be read"):
        catalogue.load(file)
