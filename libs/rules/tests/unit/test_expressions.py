"""CEL with its traps closed: errors are raised, inputs and results are plain, excess is refused."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from contracts import strictjson
from rules import expressions
from rules.errors import ExpressionError

EVENT = {
    "type": "paid",
    "n": 1,
    "x": 150.5,
    "flag": True,
    "nothing": None,
    "xs": [1, 2, 3],
    "rows": [{"id": "a", "amount": 10}, {"id": "b", "amount": 20.5}],
    "when": "2026-03-02T12:00:00Z",
}


def evaluate(text: str, **values: Any) -> Any:
    variables = {"event": EVENT, **values}
    return expressions.compile(text, variables=variables).evaluate(variables)


# The semantics that definitions rely on: a new version of the library has to keep every line.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("event.n == 1", True),
        ("event.n == 1.0", True),
        ("event.x > 100", True),
        ("event.n < 1.5", True),
        ("event.type == 1", False),
        ("event.nothing == null", True),
        ("event == null", False),
        ("event.n + 1", 2),
        ("event.n in [1.0, 2.0]", True),
        ("event.type in ['paid', 'open']", True),
        ("'type' in event", True),
        ("has(event.type)", True),
        ("has(event.missing)", False),
        ("has(event.missing) && event.missing > 1", False),
        ("event.flag || event.missing", True),
        ("event.missing == 1 || true", True),
        ("!event.flag", False),
        ("event.flag ? 'yes' : 'no'", "yes"),
        ("size(event.xs)", 3),
        ("event.xs.size()", 3),
        ("size('héé')", 3),
        ("event.xs[0]", 1),
        ("event['type']", "paid"),
        ("event.xs.exists(x, x > 2)", True),
        ("event.xs.all(x, x > 2)", False),
        ("event.xs.exists_one(x, x == 2)", True),
        ("[0, 1].exists(x, 1 / x == 1)", True),
        ("event.xs.map(x, x * 2)", [2, 4, 6]),
        ("event.xs.filter(x, x > 1)", [2, 3]),
        ("event.xs.map(x, x > 1, x * 10)", [20, 30]),
        ("event.rows.map(r, r.id)", ["a", "b"]),
        ("event.rows.map(r, double(r.amount) + 1.0)", [11.0, 21.5]),
        ("event.xs.map(x, x + 1)", [2, 3, 4]),
        ("event.rows.filter(r, r.amount > 15).map(r, r.id).exists(i, i == 'b')", True),
        ("event.xs + [4]", [1, 2, 3, 4]),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("7 % 3", 1),
        ("7.0 / 2.0", 3.5),
        ("'a' + 'b'", "ab"),
        ("'abc'.startsWith('ab') && 'abc'.endsWith('bc') && 'abc'.contains('b')", True),
        ("'a1'.matches('^[a-z][0-9]$')", True),
        ("string(event.n) + '!'", "1!"),
        ("int('12')", 12),
        ("int(3.9)", 3),
        ("double(event.n)", 1.0),
        ("type(event.n) == int", True),
        ("timestamp(event.when)", "2026-03-02T12:00:00Z"),
        ("timestamp(event.when) + duration('90m')", "2026-03-02T13:30:00Z"),
        ("timestamp(event.when).getHours('America/New_York')", 7),
        ("timestamp('2026-03-02T14:00:00.5+02:00')", "2026-03-02T12:00:00.500000Z"),
        ("timestamp(event.when) > timestamp('2026-03-01T00:00:00Z')", True),
        ("duration('90s')", "90s"),
        ("duration('-1.5s')", "-1.5s"),
        ("b'abc'", "YWJj"),
        ("{'id': event.n, 'tags': ['a'], 'nested': {'x': null}}", None),
        ("event.rows[1]", {"id": "b", "amount": 20.5}),
        ("null", None),
    ],
)
def test_what_expressions_give(text: str, expected: Any) -> None:
    if text.startswith("{"):
        expected = {"id": 1, "tags": ["a"], "nested": {"x": None}}
    value = evaluate(text)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("event.missing", 'there is no field "missing"'),
        ("event.missing == 1", 'there is no field "missing"'),
        ("event.n.deeper", "has no fields"),
        ("event.xs[5]", "index=5 size=3"),
        ("1 / 0", "divide by zero"),
        ("9223372036854775807 + event.n", "overflow"),
        ("event.type + 1", "No matching overloads"),
        ("event.type && true", "No matching overloads"),
        ("event.type ? 1 : 2", "a condition that is not true or false"),
        ("'a'.matches('(')", "invalid regular expression"),
        ("timestamp('yesterday')", ".+"),
        ("int('1.5')", ".+"),
        ("[1, event.missing]", 'there is no field "missing"'),
        ("{'a': event.missing}", 'there is no field "missing"'),
        ("event.xs.map(x, event.missing)", 'there is no field "missing"'),
    ],
)
def test_an_error_is_raised_and_never_a_value(text: str, message: str) -> None:
    expression = expressions.compile(text, variables=["event"])
    for evaluation in (expression.evaluate, expression.evaluate_bool):
        with pytest.raises(ExpressionError, match=message):
            evaluation({"event": EVENT})


@pytest.mark.parametrize("text", ["event.n", "event.type", "event.nothing", "event.xs", "'true'"])
def test_nothing_but_true_is_true(text: str) -> None:
    with pytest.raises(ExpressionError, match="expected true or false, found"):
        expressions.compile(text, variables=["event"]).evaluate_bool({"event": EVENT})


def test_bools_of_the_data_are_bools() -> None:
    flag = expressions.compile("event.flag", variables=["event"])
    assert flag.evaluate_bool({"event": {"flag": True}}) is True
    assert flag.evaluate_bool({"event": {"flag": False}}) is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("1 +", "column 4: the text ends too early"),
        ("event.n ==== 1", "column"),
        ("\n  1 + 'a'", "line 2, column 5: found no matching overload"),
        ("evnt.n == 1", "unknown variable 'evnt'; did you mean 'event'?"),
        ("evnt", "unknown variable 'evnt'; did you mean 'event'?"),
        ("event.n == other.n", "unknown variable 'other'; there is: event"),
        ("event.xs.all(x, y > 1)", "unknown variable 'y'"),
        ("now()", "unknown function 'now'"),
        ("event.type.lower()", "unknown function 'lower'"),
        ("event['xs'].map(x, x)", r"write dyn\(...\) around it"),
        ("'" + "a" * 2000 + "'", "2002 characters, more than the 2000"),
        ("'\ud800'", "half of a surrogate pair"),
        ("(" * 40 + "1" + ")" * 40, "32 levels"),
        ("+".join(["1"] * 40), "32 levels"),
        ("[" + ",".join(["1+1"] * 40) + "]", "40 additions"),
        ("event" + ".xs.map(x, x)".replace(".xs", "") * 4, "more than 3 macros"),
        ("event.map(a, event.map(b, event.map(c, event.map(d, d))))", "more than 3 macros"),
        ("event.xs.map(x, x + x)", r"\+ inside map"),
        ("event.xs.map(x, 'a' + 'b')", r"\+ inside map"),
        ("event.xs.map(x, [x] + [x])", r"\+ inside map"),
        ("event.xs.filter(x, size(event.type + event.type) > 1)", r"\+ inside map"),
        ("event.xs.map(x, event.xs.map(y, y + x))", r"\+ inside map"),
        ("event.xs.map(x, x + x).size()", r"\+ inside map"),
    ],
)
def test_what_does_not_compile_says_why(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        expressions.compile(text, variables=["event"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{1: 'a'}", "keys of a JSON object are text"),
        ("1.0 / 0.0", "inf, which is not a JSON number"),
        ("type(1)", "a type, which has no form in JSON"),
        ("18446744073709551615u", "64 signed bits"),
        ("[[1.0 / 0.0]]", r"the result\[0\]\[0\] is inf"),
    ],
)
def test_a_result_without_a_form_in_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        evaluate(text)


def test_a_result_that_repeats_its_inputs_is_bounded() -> None:
    # The library shares the parts of what JSON would write out: 18 x 18 x 18 x 1,000 values.
    copies = "[" + ",".join(["x"] * 18) + "]"
    text = f"event.map(x, {copies}).map(x, {copies}).map(x, {copies})"
    with pytest.raises(ExpressionError, match="more than 100000 values"):
        evaluate(text, event=list(range(1000)))
    with pytest.raises(ExpressionError, match="characters"):
        evaluate(f"event.map(x, {copies})", event=["y" * 10_000] * 10)


def test_endless_iteration_is_stopped() -> None:
    with pytest.raises(ExpressionError, match="Iteration budget exceeded"):
        evaluate("event.map(x, event.map(y, event.map(z, 1)))", event=list(range(100)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2026, 3, 2, 14, tzinfo=timezone(timedelta(hours=2))), "2026-03-02T12:00:00Z"),
        (Decimal("10.10"), 10.1),
        (Decimal(3), 3.0),
        ((1, [2]), [1, [2]]),
        (-(2**63), -(2**63)),
        (2**63 - 1, 2**63 - 1),
        ({"é": "ß"}, {"é": "ß"}),
    ],
)
def test_inputs_take_the_form_of_cel(value: Any, expected: Any) -> None:
    assert evaluate("v", v=value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**63, "^v is a number that 64 bits cannot hold"),
        ({"a": [-(2**70)]}, r"^v\.a\[0\] is a number that 64 bits"),
        ("\ud800", "^v holds half of a surrogate pair at 0"),
        ({"\ud800": 1}, "^v has a key with half of a surrogate pair"),
        ({1: 2}, "^v has a key that is not text: 1"),
        (datetime(2026, 1, 1), "^v is a time without a zone"),  # noqa: DTZ001 - what is refused
        (Decimal("12345678901234567.89"), "^v is a decimal that no double holds"),
        (Decimal("NaN"), "^v is a decimal"),
        (b"raw", "^v is a bytes"),
        ({1, 2}, "^v is a set"),
    ],
)
def test_inputs_without_an_exact_form_are_refused_with_their_path(value: Any, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        evaluate("v", v=value)


def test_inputs_that_are_nested_too_deep_are_refused() -> None:
    value: Any = 1
    for _ in range(100):
        value = [value]
    with pytest.raises(ExpressionError, match="deeper than 64"):
        evaluate("v", v=value)


def test_only_what_is_read_has_to_have_a_value() -> None:
    expression = expressions.compile("a + 1", variables=["a", "b"])
    assert expression.evaluate({"a": 1}) == 2
    with pytest.raises(ExpressionError, match="no value was given for a"):
        expression.evaluate({"b": 1})


def test_an_expression_is_evaluated_many_times() -> None:
    expression = expressions.compile("event.n", variables=["event"])
    assert [expression.evaluate({"event": {"n": n}}) for n in range(5)] == list(range(5))


def test_inputs_are_prepared_once_and_used_often() -> None:
    prepared = expressions.inputs({"at": datetime(2026, 1, 1, tzinfo=UTC), "n": Decimal("1.5")})
    for text, expected in (("at", "2026-01-01T00:00:00Z"), ("n", 1.5)):
        assert expressions.compile(text, variables=prepared).evaluate(prepared) == expected


@pytest.mark.parametrize(
    "document",
    [
        '{"a": ' * (strictjson.MAX_DEPTH - 1) + "{}" + "}" * (strictjson.MAX_DEPTH - 1),
        '{"a": [1, -9223372036854775808, 1.5, "\\u00e9\\ud83d\\ude00", true, null, {"": []}]}',
    ],
)
def test_what_was_read_strictly_is_taken_as_it_is(document: str) -> None:
    values = {"event": strictjson.parse(document.encode())}
    assert expressions.parsed(values) == expressions.inputs(values)
    condition = expressions.compile("event == event && size(event) == 1", variables=["event"])
    assert condition.evaluate_bool(expressions.parsed(values))


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("context.a.b + context['c']", {"context"}),
        ("context.a.exists(context, context.b)", {"context"}),
        ("context.rows.map(r, r.id == event.id)", {"context", "event"}),
        ("event.rows.map(context, context.id)", {"event"}),
        ("type(1) == int", set()),
    ],
)
def test_an_expression_knows_what_it_reads(text: str, variables: set[str]) -> None:
    assert expressions.compile(text, variables=["event", "context"]).variables == variables


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "unknown field 'amonut'; there is: none"),
        (["id", "name"], "unknown field 'amonut'; there is: id, name"),
        (["id", "amount"], "unknown field 'amonut'; did you mean 'amount'?"),
        ([f"f{i:03}" for i in range(100)], "f018, f019 and 80 more"),
        ([*(f"f{i:05}" for i in range(20_000)), "amount"], "did you mean 'amount'?"),
    ],
)
def test_an_unknown_name_is_told_what_is_near_or_there(names: list[str], message: str) -> None:
    assert expressions.did_you_mean("amonut", names, "field").endswith(message)


@pytest.mark.parametrize("text", ["1" * 1990, "é" * 1990, "`" * 1990, "f()&&" * 398 + "f()"])
def test_what_a_compiler_says_at_length_is_read_in_no_time(text: str) -> None:
    started = time.process_time()
    for _ in range(5):
        with pytest.raises(ExpressionError):
            expressions.compile(text, variables=["event"])
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(
    "attack",
    [
        lambda: evaluate("event.__class__"),
        lambda: evaluate("event['__class__']['__mro__']"),
        lambda: evaluate("__import__('os')"),
        lambda: evaluate("event.keys()"),
    ],
)
def test_python_is_out_of_reach(attack: Callable[[], Any]) -> None:
    with pytest.raises(ExpressionError):
        attack()
