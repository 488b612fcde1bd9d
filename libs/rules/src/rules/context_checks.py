"""Checks of what a run looks at: connectors, statements, paths, and what is bound to them."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from contracts import catalogue as contract
from contracts.catalogue import Catalogue, Connector, Parameter, ParameterType
from contracts.definitions import ActivityDefinition, ContextEntry, HttpQuery, StatementQuery
from rules import decisions, expressions
from rules.environment import Environment
from rules.expression_checks import ExpressionChecks, as_json
from rules.shapes import NUMBERS, Kind

_TEXT = frozenset({Kind.TEXT})
_OF_TYPE: dict[ParameterType, frozenset[Kind]] = {
    ParameterType.TEXT: _TEXT,
    ParameterType.INTEGER: frozenset({Kind.INT}),
    ParameterType.NUMBER: NUMBERS,
    ParameterType.BOOLEAN: frozenset({Kind.BOOL}),
    ParameterType.TIMESTAMPTZ: _TEXT,
    ParameterType.DATE: _TEXT,
}


def check(
    definition: ActivityDefinition,
    environment: Environment,
    checks: ExpressionChecks,
    *,
    catalogue: Catalogue | None,
) -> None:
    """Note what is wrong with the context entries of a definition."""
    for i, entry in enumerate(definition.spec.context):
        path = f"spec.context[{i}]"
        found = _Entry(entry, path, checks, catalogue)
        declared = found.parameters()
        types = {parameter.name: parameter for parameter in declared or []}
        for name, text in decisions.parameters(entry).items():
            where = f"{found.source_path}.parameters.{name}"
            shape = checks.check(text, where, environment.causes, unguarded=True)
            if (parameter := types.get(name)) is not None:
                wanted = _OF_TYPE[parameter.type]
                if parameter.nullable:
                    wanted |= {Kind.NULL}
                checks.expect(as_json(shape), wanted, where)
        found.patience()


class _Entry:
    """One entry, held against the catalogue where there is one."""

    def __init__(
        self,
        entry: ContextEntry,
        path: str,
        checks: ExpressionChecks,
        catalogue: Catalogue | None,
    ) -> None:
        self._entry = entry
        self._path = path
        self._checks = checks
        self._catalogue = catalogue
        self._connector: Connector | None = None
        kind = "query" if entry.query is not None else "http"
        self.source_path = f"{path}.{kind}"

    def parameters(self) -> Sequence[Parameter] | None:
        """Return the parameters that the catalogue declares, None where nothing is known."""
        entry = self._entry
        if entry.http is not None and not self._sound_path(entry.http):
            return None
        source = entry.query or entry.http
        if source is None or self._catalogue is None:
            return None
        self._connector = self._known_connector(source)
        if self._connector is None:
            return None
        if isinstance(source, StatementQuery):
            return self._of_statement(source, self._connector)
        return self._of_path(source, self._connector)

    def patience(self) -> None:
        """Note a timeout that is of no effect, and retries that one attempt to decide has not."""
        entry, longest = self._entry, contract.MAX_TIMEOUT
        if self._connector is not None:
            longest = self._connector.timeout
        if entry.timeout is not None and entry.timeout > longest:
            self._checks.note(
                f"{self._path}.timeout",
                f"an answer is waited for no longer than {_seconds(longest)}, whatever is written "
                "here; write that or less, or leave it out",
            )
        if entry.retries:
            # Nothing is known of the connector's own timeout without a catalogue.
            each = entry.timeout or (longest if self._connector is not None else timedelta(0))
            together = each * (entry.retries + 1)
            if together > contract.MAX_TIMEOUT:
                self._checks.note(
                    f"{self._path}.retries",
                    f"{entry.retries + 1} attempts of {_seconds(each)} are "
                    f"{_seconds(together)}, more than the {_seconds(contract.MAX_TIMEOUT)} that a "
                    "run looks at one thing; write fewer retries or a shorter timeout",
                )

    def _known_connector(self, source: StatementQuery | HttpQuery) -> Connector | None:
        connectors = self._catalogue.connectors if self._catalogue is not None else {}
        connector = connectors.get(source.connector)
        path = f"{self.source_path}.connector"
        if connector is None:
            told = expressions.did_you_mean(source.connector, list(connectors), "connector")
            self._checks.note(path, told)
            return None
        if isinstance(source, StatementQuery) and connector.postgres is None:
            self._checks.note(path, f"{source.connector} is an HTTP API; write http, with its path")
            return None
        if isinstance(source, HttpQuery) and connector.http is None:
            self._checks.note(
                path, f"{source.connector} is a database; write query, with its statement"
            )
            return None
        return connector

    def _of_statement(
        self, query: StatementQuery, connector: Connector
    ) -> Sequence[Parameter] | None:
        statements = connector.postgres.statements if connector.postgres is not None else {}
        statement = statements.get(query.statement)
        if statement is None:
            word = f"statement of {query.connector}"
            self._checks.note(
                f"{self.source_path}.statement",
                expressions.did_you_mean(query.statement, list(statements), word),
            )
            return None
        self._bound(query.statement, query.parameters, statement.parameters)
        return statement.parameters

    def _of_path(self, query: HttpQuery, connector: Connector) -> Sequence[Parameter] | None:
        paths = connector.http.paths if connector.http is not None else {}
        path = paths.get(query.path)
        if path is None:
            word = f"path of {query.connector}"
            self._checks.note(
                f"{self.source_path}.path", expressions.did_you_mean(query.path, list(paths), word)
            )
            return None
        self._bound(query.path, query.parameters, path.parameters)
        return path.parameters

    def _bound(self, what: str, given: Collection[str], declared: Sequence[Parameter]) -> None:
        known = [parameter.name for parameter in declared]
        path = f"{self.source_path}.parameters"
        for name in given:
            if name not in known:
                told = expressions.did_you_mean(name, known, f"parameter of {what}")
                self._checks.note(f"{path}.{name}", told)
        for parameter in declared:
            if parameter.name not in given:
                self._checks.note(
                    path,
                    f"{what} needs the parameter {parameter.name!r}, {parameter.type}; "
                    "bind it to an expression"
                    + (", null if need be" if parameter.nullable else ""),
                )

    def _sound_path(self, query: HttpQuery) -> bool:
        path = f"{self.source_path}.path"
        try:
            named = contract.placeholders(query.path)
        except ValueError as exc:
            self._checks.note(path, str(exc))
            return False
        missing = [name for name in named if name not in query.parameters]
        for name in missing:
            told = expressions.did_you_mean(name, list(query.parameters), "parameter")
            self._checks.note(path, told)
        return not missing


def _seconds(duration: timedelta) -> str:
    return f"{int(duration.total_seconds())}s"
