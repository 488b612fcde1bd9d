"""Checks of what a run looks at: connectors, statements, and the parameters bound to them."""

import re

from contracts.catalogue import Catalogue, ParameterType, Statement
from contracts.definitions import ActivityDefinition, HttpQuery, StatementQuery
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
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def check(
    definition: ActivityDefinition,
    environment: Environment,
    checks: ExpressionChecks,
    *,
    catalogue: Catalogue | None,
) -> None:
    """Note what is wrong with the context entries of a definition."""
    for i, entry in enumerate(definition.spec.context):
        kind = "query" if entry.query is not None else "http"
        path = f"spec.context[{i}].{kind}"
        statement = None
        if entry.query is not None and catalogue is not None:
            statement = _statement(entry.query, path, catalogue, checks)
        if entry.http is not None:
            _path(entry.http, path, checks)
        types = {} if statement is None else {p.name: p for p in statement.parameters}
        for name, text in decisions.parameters(entry).items():
            shape = checks.check(
                text, f"{path}.parameters.{name}", environment.causes, unguarded=True
            )
            if (parameter := types.get(name)) is not None:
                wanted = _OF_TYPE[parameter.type]
                if parameter.nullable:
                    wanted |= {Kind.NULL}
                checks.expect(as_json(shape), wanted, f"{path}.parameters.{name}")


def _statement(
    query: StatementQuery, path: str, catalogue: Catalogue, checks: ExpressionChecks
) -> Statement | None:
    connector = catalogue.connectors.get(query.connector)
    if connector is None:
        known = list(catalogue.connectors)
        checks.note(
            f"{path}.connector", expressions.did_you_mean(query.connector, known, "connector")
        )
        return None
    statements = connector.postgres.statements
    statement = statements.get(query.statement)
    if statement is None:
        word = f"statement of {query.connector}"
        checks.note(
            f"{path}.statement", expressions.did_you_mean(query.statement, list(statements), word)
        )
        return None
    declared = [parameter.name for parameter in statement.parameters]
    word = f"parameter of {query.statement}"
    for name in query.parameters:
        if name not in declared:
            checks.note(f"{path}.parameters.{name}", expressions.did_you_mean(name, declared, word))
    for parameter in statement.parameters:
        if parameter.name not in query.parameters:
            checks.note(
                f"{path}.parameters",
                f"{query.statement} needs the parameter {parameter.name!r}, {parameter.type}; "
                "bind it to an expression" + (", null if need be" if parameter.nullable else ""),
            )
    return statement


def _path(query: HttpQuery, path: str, checks: ExpressionChecks) -> None:
    named = _PLACEHOLDER.findall(query.path)
    rest = _PLACEHOLDER.sub("", query.path)
    if "{" in rest or "}" in rest:
        checks.note(f"{path}.path", "a brace stands alone; a parameter is written {name}")
        return
    for name in dict.fromkeys(named):
        if name not in query.parameters:
            checks.note(
                f"{path}.path", expressions.did_you_mean(name, list(query.parameters), "parameter")
            )
    for name in query.parameters:
        if name not in named:
            checks.note(
                f"{path}.parameters.{name}",
                f"the path does not hold it; write {{{name}}} where it belongs",
            )
