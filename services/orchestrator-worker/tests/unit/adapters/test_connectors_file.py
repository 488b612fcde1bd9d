from pathlib import Path

import pytest

from orchestrator_worker.adapters import connectors_file
from orchestrator_worker.domain.connectors import PostgresConnector
from runtime.errors import ConfigurationError

STATEMENTS = "statements: {all: {sql: SELECT 1}}"


def _written(path: Path, text: str) -> Path:
    file = path / "connectors.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file_gives_connectors_with_their_statements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_DSN", "postgresql://localhost/billing")
    file = _written(
        tmp_path,
        """
connectors:
  billing-db:
    postgres:
      dsnEnv: BILLING_DSN
      statementTimeout: 1s
      statements:
        overdue_invoices:
          sql: SELECT id FROM invoices WHERE due < $1
          parameters: [{name: until, type: timestamptz}]
          maxRows: 10
""",
    )
    connector = connectors_file.load(file).connectors["billing-db"].postgres
    assert connector.statements["overdue_invoices"].max_rows == 10
    assert connectors_file.dsn("billing-db", connector) == "postgresql://localhost/billing"


def test_no_file_gives_no_connectors() -> None:
    assert connectors_file.load(None).connectors == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("connectors: [", "is not YAML"),
        ("connectors: {db: {mysql: {}}}", "connectors.db"),
        (f"connectors: {{db: {{postgres: {{{STATEMENTS}}}}}}}", "either dsnEnv or dsnFile"),
        (
            f"connectors: {{db: {{postgres: {{dsnEnv: NOT_THERE, {STATEMENTS}}}}}}}",
            "NOT_THERE is not set",
        ),
        (
            f"connectors: {{db: {{postgres: {{dsnFile: /nowhere/dsn, {STATEMENTS}}}}}}}",
            "/nowhere/dsn cannot be read",
        ),
        (
            "connectors: {db: {postgres: {dsnEnv: HOME, statements: {all: {sql: SELECT 1,"
            " parameters: [{name: a, type: money}]}}}}}",
            "parameters.0.type",
        ),
        (
            "connectors: {db: {postgres: {dsnEnv: HOME, statementTimeout: 1m, "
            f"{STATEMENTS}}}}}}}",
            "at most 20s",
        ),
        ("- a list", "Input should be"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        connectors_file.load(_written(tmp_path, text))


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        connectors_file.load(tmp_path / "absent.yaml")


def test_a_rotated_secret_is_read_anew(tmp_path: Path) -> None:
    secret = tmp_path / "dsn"
    secret.write_text("postgresql://old\n", encoding="utf-8")
    connector = PostgresConnector.model_validate(
        {"dsnFile": str(secret), "statements": {"all": {"sql": "SELECT 1"}}}
    )
    assert connectors_file.dsn("db", connector) == "postgresql://old"
    secret.write_text("postgresql://new\n", encoding="utf-8")
    assert connectors_file.dsn("db", connector) == "postgresql://new"
