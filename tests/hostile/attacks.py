"""The table of attacks: what is tried, where it is given, and the refusal that it gets.

Written by hand. A payload is made when it is needed, so that the repository holds no megabytes. An
`outcome` is a regular expression over what the entry says: a refusal begins with `refused:`, what
is taken because it harms nobody with `taken:`.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LONG_TEXT = "a" * 200_000
DEEP = 5_000
METADATA = "169.254.169.254"
PYTHON_TAG = "!!python/object/apply:os.system"


@dataclass(frozen=True)
class Attack:
    """One attack: its `kind` for the reader, `given` for the entry that takes it."""

    kind: str
    name: str
    given: str
    payload: Callable[[], Any]
    outcome: str


def definition(
    *, metadata: Mapping[str, Any] | None = None, task: Mapping[str, Any] | None = None, **spec: Any
) -> bytes:
    """Return a definition as JSON; what is given replaces what would be right."""
    named = {"id": "billing", "namespace": "dev", "owner": "tests", **(metadata or {})}
    act = {"type": "automated", "handler": "act", "taskQueue": "hands-tq", **(task or {})}
    body = {
        "taskQueue": "billing-tq",
        "triggers": [{"name": "paid", "event": {"type": "billing.paid"}}],
        "rules": [{"name": "act", "task": act}],
        **spec,
    }
    return json.dumps(
        {"apiVersion": "backbone/v1", "kind": "ActivityDefinition", "metadata": named, "spec": body}
    ).encode()


def paid(**event: Any) -> bytes:
    """Return a definition whose event trigger has what is given."""
    return definition(triggers=[{"name": "paid", "event": {"type": "billing.paid", **event}}])


def due(**schedule: Any) -> bytes:
    """Return a definition with a schedule."""
    told = {"missedRuns": {"policy": "compress", "window": "1h"}, **schedule}
    return definition(triggers=[{"name": "due", "schedule": told}])


def asking(schema: Any) -> bytes:
    """Return a definition whose manual trigger takes what a schema says."""
    return definition(triggers=[{"name": "by-hand", "manual": {"input": schema}}])


def event(payload: bytes = b"{}", **fields: Any) -> bytes:
    """Return an event as JSON, its payload as it is given."""
    head = {
        "event_id": "e-1",
        "type": "billing.paid",
        "source": "shop",
        "occurred_at": "2026-01-01T00:00:00Z",
        **fields,
    }
    return json.dumps(head)[:-1].encode() + b', "payload": ' + payload + b"}"


def nested(opening: str, closing: str, inner: str = "1", *, levels: int = DEEP) -> str:
    """Return brackets within brackets."""
    return opening * levels + inner + closing * levels


def laughs(form: str) -> str:
    """Return YAML whose last line means ten to the eighth times its first."""
    lines = ["a0: &a0 {k: v}" if "<<" in form else "a0: &a0 [x]"]
    for level in range(1, 9):
        aliases = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} " + form.format(aliases))
    return "\n".join(lines)


def doubling() -> Any:
    """Return a schema that holds a value against two to the thirtieth others."""
    defs: dict[str, Any] = {"d0": {"type": "object"}}
    for level in range(1, 31):
        half = {"$ref": f"#/$defs/d{level - 1}"}
        defs[f"d{level}"] = {"allOf": [half, half]}
    return {"type": "object", "$defs": defs, "$ref": "#/$defs/d30"}


def alternatives(count: int) -> dict[str, Any]:
    """Return a pattern with so many values."""
    return {"payload": {"n": list(range(count))}}


def combined(groups: int) -> dict[str, Any]:
    """Return a pattern of `$or` within `$or`: two to the power of `groups` combinations."""
    pattern: dict[str, Any] = {"leaf": [1]}
    for group in range(groups):
        pattern = {"$or": [{f"a{group}": [1]}, {f"b{group}": [1]}], f"n{group}": pattern}
    return pattern


def levels(count: int) -> dict[str, Any]:
    """Return a pattern so deep."""
    pattern: Any = ["x"]
    for _ in range(count):
        pattern = {"a": pattern}
    return dict(pattern)


STARS = "*".join("a" * 200)

ATTACKS = [
    # --- expressions ------------------------------------------------------------------------------
    *(
        Attack("Expression bombs", name, "definition", lambda when=when: paid(when=when), outcome)
        for name, when, outcome in [
            ("an expression of 2,001 characters", "'" + "a" * 2000 + "' == ''", "refused: .*2000"),
            (
                "brackets within brackets",
                nested("(", ")", levels=900) + " == 1",
                "refused: .*deeper",
            ),
            ("a chain of operators", "1" + " - 1" * 450 + " == 0", "refused: .*longer a chain"),
            ("powers of whole numbers", "pow(2, 1000000) == 0", "refused: .*unknown function"),
            (
                "text that 32 additions double",
                " + ".join(["(" + " + ".join(["event.payload.x"] * 11) + ")"] * 3) + " == ''",
                "refused: .*32 additions.*31",
            ),
            (
                "text that grows in a macro",
                "event.payload.xs.map(x, x + x).size() > 0",
                "refused: .*[+] inside map",
            ),
            (
                "macros within macros within macros",
                "[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))",
                "refused: .*more than 3 macros",
            ),
        ]
    ),
    *(
        Attack("Expression bombs", name, "expression", payload, outcome)
        for name, payload, outcome in [
            (
                "a regular expression that backtracks",
                lambda: ("event.matches('^(a+)+$')", {"event": "a" * 50_000 + "!"}),
                "taken: false",
            ),
            (
                "three macros over a long list",
                lambda: (
                    "event.all(a, event.all(b, event.all(c, true)))",
                    {"event": list(range(20_000))},
                ),
                "refused: .*budget",
            ),
            (
                "a result of a million values",
                lambda: (
                    "event.map(a, event)",
                    {"event": list(range(1_000))},
                ),
                "refused: .*more than 100000 values",
            ),
            (
                "a result of thirty megabytes",
                lambda: ("event.map(a, event[0])", {"event": ["a" * 100_000] * 300}),
                "refused: .*more than 1048576 characters",
            ),
            (
                "a whole number beyond 64 bits",
                lambda: ("event * event", {"event": 2**62}),
                "refused: .*overflow",
            ),
            (
                "a time beyond the calendar",
                lambda: (
                    "timestamp(event) + duration('876000h')",
                    {"event": "9999-12-31T00:00:00Z"},
                ),
                "refused: ",
            ),
            (
                "a value nested deeper than 64 levels",
                lambda: ("event == 1", {"event": json.loads(nested("[", "]", levels=100))}),
                "refused: .*deeper than 64",
            ),
        ]
    ),
    # --- patterns ---------------------------------------------------------------------------------
    *(
        Attack("Pattern bombs", name, "definition", lambda match=match: paid(match=match), outcome)
        for name, match, outcome in [
            ("1,001 alternatives", alternatives(1_001), "refused: .*1000"),
            ("40 levels", levels(40), "refused: .*deeper than 32"),
            ("a field of a matcher that is none", {"a": [{"regex": "(a+)+"}]}, "refused: .*regex"),
        ]
    ),
    Attack(
        "Pattern bombs",
        "a wildcard of 200 stars on a long text",
        "pattern",
        lambda: ({"a": [{"wildcard": f"*{STARS}*b"}]}, {"a": LONG_TEXT}),
        "taken: no match",
    ),
    Attack(
        "Pattern bombs",
        "two to the twentieth combinations of $or",
        "pattern",
        lambda: (combined(20), {}),
        "taken: no match",
    ),
    Attack(
        "Pattern bombs",
        "a pattern on lists within lists",
        "pattern",
        lambda: ({"a": {"b": {"c": [1]}}}, {"a": json.loads(nested("[", "]", levels=60))}),
        "taken: no match",
    ),
    # --- JSON -------------------------------------------------------------------------------------
    *(
        Attack("JSON bombs", name, "event", lambda raw=raw: (raw(), ()), outcome)
        for name, raw, outcome in [
            (
                "lists within lists",
                lambda: event(nested("[", "]").encode()),
                "refused: too_deep",
            ),
            (
                "objects within objects",
                lambda: event(nested('{"a":', "}").encode()),
                "refused: too_deep",
            ),
            (
                "more than 256 KiB",
                lambda: event(json.dumps("a" * 300_000).encode()),
                "refused: oversize",
            ),
            ("a key twice", lambda: event(b'{"a": 1, "a": 2}'), "refused: duplicate_key"),
            (
                "a key twice, once with an escape",
                lambda: event(b'{"a": 1, "\\u0061": 2}'),
                "refused: duplicate_key",
            ),
            ("1e999999", lambda: event(b'{"a": 1e999999}'), "refused: invalid_number"),
            (
                "a whole number of 100,000 digits",
                lambda: event(b'{"a": ' + b"9" * 100_000 + b"}"),
                "refused: invalid_number",
            ),
            ("NaN", lambda: event(b'{"a": NaN}'), "refused: invalid_number"),
            ("-Infinity", lambda: event(b'{"a": -Infinity}'), "refused: invalid_number"),
            (
                "half of a surrogate pair",
                lambda: event(b'{"a": "\\ud800"}'),
                "refused: malformed_json",
            ),
            ("no UTF-8", lambda: event(b'"\xff"'), "refused: not_utf8"),
            ("a second document", lambda: event() + event(), "refused: malformed_json"),
            ("NUL in an id", lambda: event(event_id="e\x00"), "refused: invalid_envelope"),
            (
                "a new line in an id",
                lambda: event(event_id='e-1\n{"level": "error"}'),
                "refused: invalid_envelope",
            ),
            (
                "an escape sequence in a type",
                lambda: event(type="\x1b[2Jbilling.paid"),
                "refused: invalid_envelope",
            ),
            (
                "a correlation id of 200,000 characters",
                lambda: event(correlation_id=LONG_TEXT),
                "refused: invalid_envelope",
            ),
            ("seventeen hops", lambda: event(hops=17), "refused: too_many_hops"),
            (
                "a time beyond the calendar",
                lambda: event(occurred_at="9999-12-31T23:59:59-23:59"),
                "taken: event",
            ),
        ]
    ),
    Attack(
        "JSON bombs",
        "a batch of 1,001 events",
        "batch",
        lambda: b"[" + b",".join([b"{}"] * 1_001) + b"]",
        "refused: oversize",
    ),
    Attack(
        "JSON bombs",
        "a batch nested deeper than Python reads",
        "batch",
        lambda: nested("[", "]", levels=200_000).encode(),
        "refused: too_deep",
    ),
    # --- headers ----------------------------------------------------------------------------------
    *(
        Attack(
            "Header smuggling", name, "event", lambda headers=headers: (event(), headers), outcome
        )
        for name, headers, outcome in [
            (
                "an attribute twice",
                (("ce_specversion", b"1.0"), ("ce_type", b"a"), ("ce_type", b"b")),
                "refused: duplicate_header",
            ),
            (
                "an attribute twice, once in capitals",
                (("ce_specversion", b"1.0"), ("ce_type", b"a"), ("CE_TYPE", b"b")),
                "refused: duplicate_header",
            ),
            (
                "a header that is no UTF-8",
                (("ce_specversion", b"1.0"), ("ce_type", b"\xff")),
                "refused: invalid_header",
            ),
            (
                "data in a header",
                (("ce_specversion", b"1.0"), ("ce_data", b"{}")),
                "refused: invalid_header",
            ),
            (
                "a payload in a header",
                (
                    *(("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"s")),
                    *(("ce_type", b"t"), ("ce_payload", b"{}")),
                ),
                "refused: invalid_cloudevent",
            ),
            (
                "an attribute with a line break",
                (
                    *(("ce_specversion", b"1.0"), ("ce_id", b"1\r\nx: y"), ("ce_source", b"s")),
                    ("ce_type", b"t"),
                ),
                "refused: invalid_envelope",
            ),
            (
                "a header beside another value",
                (("content-type", b"application/cloudevents+json"), ("ce_type", b"other")),
                "refused: (invalid_cloudevent|header_contradiction)",
            ),
            (
                "a signature of 200,000 characters",
                (("backbone-signature", b"a" * 200_000),),
                "refused: malformed_signature",
            ),
            (
                "two signatures",
                (("backbone-signature", b"a"), ("backbone-signature", b"a")),
                "refused: duplicate_header",
            ),
            (
                "a trace context with more behind it",
                (("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01\n\x1b[2J"),),
                "taken: event without trace context",
            ),
        ]
    ),
    *(
        Attack("Requests to the HTTP door", name, "post", lambda raw=raw: raw(), outcome)
        for name, raw, outcome in [
            (
                "a length of nineteen digits",
                lambda: _post(b"", "content-length: " + "9" * 19),
                "refused: 413 too-large",
            ),
            ("a body of 300 KiB", lambda: _post(b"a" * 300_000), "refused: 413 too-large"),
            (
                "a body without an end",
                lambda: _post(
                    b"10000\r\n"
                    + b"a" * 65_536
                    + b"\r\n"
                    + b"10000\r\n"
                    + b"a" * 65_536
                    + b"\r\n"
                    + b"10000\r\n"
                    + b"a" * 65_536
                    + b"\r\n"
                    + b"20000\r\n"
                    + b"a" * 131_072
                    + b"\r\n",
                    "transfer-encoding: chunked",
                ),
                "refused: 413 too-large",
            ),
            (
                "two lengths",
                lambda: _post(b"{}", "content-length: 2", "content-length: 20"),
                "refused: 400",
            ),
            (
                "a length and chunks",
                lambda: _post(
                    b"0\r\n\r\nPOST /events HTTP/1.1\r\n",
                    "content-length: 5",
                    "transfer-encoding: chunked",
                ),
                "refused: 400 ambiguous",
            ),
            (
                "a transfer encoding that is not known",
                lambda: _post(b"{}", "transfer-encoding: gzip, chunked"),
                "refused: (400|501)",
            ),
            (
                "a blank before a colon",
                lambda: _post(b"{}", "content-length : 2"),
                "refused: 400",
            ),
            (
                "NUL in a header",
                lambda: _post(b"{}", "x: a\0b", "content-length: 2"),
                "refused: 400",
            ),
            (
                "a head of 100 KiB",
                lambda: _post(b"{}", "x: " + "a" * 100_000, "content-length: 2"),
                "refused: 400",
            ),
            (
                "a compressed body",
                lambda: _post(b"\x1f\x8b\x08" + b"\0" * 30, "content-encoding: gzip"),
                "refused: 400 refused not_utf8",
            ),
            (
                "a line break in an attribute",
                lambda: _post(
                    b"{}",
                    *("ce-specversion: 1.0", "ce-id: a%0d%0ab", "ce-source: s", "ce-type: t"),
                ),
                "refused: 400 refused invalid_envelope",
            ),
            (
                "a namespace that climbs",
                lambda: _post(event(), query="?namespace=../prod"),
                "refused: 400 refused wrong_namespace",
            ),
            (
                "a type of HTML",
                lambda: _post(event(), "content-type: text/html"),
                "refused: 415 media-type",
            ),
            (
                "a way of Backbone's own",
                lambda: _post(event(type="backbone.RunCompleted")),
                "refused: 400 refused reserved_type",
            ),
            (
                "an upgrade",
                lambda: _post(event(), "connection: upgrade", "upgrade: websocket"),
                "taken: 202",
            ),
        ]
    ),
    # --- YAML and documents -----------------------------------------------------------------------
    *(
        Attack("YAML bombs", name, given, lambda text=text: text().encode(), outcome)
        for given in ("file", "document")
        for name, text, outcome in [
            ("aliases of aliases", lambda: laughs("[{}]"), "refused: .*anchors"),
            ("merges of merges", lambda: laughs("{{<<: [{}]}}"), "refused: .*anchors"),
            ("a list that holds itself", lambda: "a: &a [*a]", "refused: .*(anchors|aliases)"),
            ("a Python object", lambda: f"a: {PYTHON_TAG} [id]", "refused: .*tags"),
            ("a binary", lambda: "a: !!binary aGVsbG8=", "refused: .*tags"),
            ("lists within lists", lambda: "a: " + nested("[", "]"), "refused: .*deeper"),
            ("two documents", lambda: "a: 1\n---\nb: 2", "refused: .*document"),
            ("a key twice", lambda: "a: 1\na: 2", "refused: .*twice"),
            ("a list as a key", lambda: "? [a]\n: b", "refused: .*key is text"),
            (
                "a number of 100,000 digits",
                lambda: "a: " + "9" * 100_000,
                "refused: .*(no number|too large)",
            ),
            (
                "a hexadecimal number of 100,000 digits",
                lambda: "a: 0x" + "f" * 100_000,
                "refused: .*(no number|too large)",
            ),
            ("1e999", lambda: "a: 1e999", "refused: .*(no number|too large)"),
            ("infinity", lambda: "a: .inf", "refused: .*no number"),
            (
                "half of a surrogate pair",
                lambda: r'a: "\ud800"',
                "refused: .*(surrogate|invalid Unicode)",
            ),
            ("a scalar of 300 KiB", lambda: "a: " + "x" * 300_000, "refused: .*(256 KiB|262144)"),
            (
                "a number to the base of sixty",
                lambda: "a: 1" + ":1" * 50_000,
                "refused: (?!.*number)",
            ),
        ]
    ),
    *(
        Attack("Documents", name, "definition", payload, outcome)
        for name, payload, outcome in [
            (
                "201 rules",
                lambda: definition(rules=[{"name": f"r{n}"} for n in range(201)]),
                "refused: .*200",
            ),
            (
                "51 triggers",
                lambda: definition(triggers=[{"name": f"t{n}", "manual": {}} for n in range(51)]),
                "refused: .*50",
            ),
            (
                "a path as an id",
                lambda: definition(metadata={"id": "../../etc/passwd"}),
                "refused: .*metadata.id",
            ),
            (
                "a line break behind an id",
                lambda: definition(metadata={"id": "billing\n"}),
                "refused: .*metadata.id",
            ),
            (
                "SQL as an owner",
                lambda: definition(metadata={"owner": "x'; DROP TABLE events; --"}),
                "refused: .*metadata.owner",
            ),
            (
                "letters that look like others",
                lambda: definition(metadata={"id": "b\u0456lling"}),
                "refused: .*metadata.id",
            ),
            (
                "a field that is not known",
                lambda: definition(__class__={"x": 1}),
                "refused: .*__class__",
            ),
            (
                "a URL for a connector",
                lambda: definition(
                    context=[{"name": "a", "http": {"connector": "http://x", "path": "/"}}]
                ),
                "refused: .*connector",
            ),
            (
                "1,000 faults",
                lambda: definition(rules=[{"name": "a", "x": 1}] * 200),
                "refused: ",
            ),
        ]
    ),
    # --- schedules --------------------------------------------------------------------------------
    *(
        Attack("Schedule bombs", name, "definition", payload, outcome)
        for name, payload, outcome in [
            ("every nanosecond", lambda: due(every="1ns"), "refused: .*not a duration"),
            ("every 0 seconds", lambda: due(every="0s"), "refused: .*longer than zero"),
            ("a window of 10,000 years", lambda: due(every="P3652500D"), "refused: .*ten years"),
            (
                "missed runs of 10,000 years",
                lambda: due(every="1h", missedRuns={"policy": "skip", "tolerance": "P3652500D"}),
                "refused: .*ten years",
            ),
            (
                "a duration of nine digits",
                lambda: due(every="9" * 400 + "s"),
                "refused: .*duration",
            ),
            ("a day that never comes", lambda: due(cron="0 0 30 2 *"), "refused: .*never"),
            ("the year 9999", lambda: due(calendars=[{"year": "9999"}]), "refused: .*2100"),
            (
                "a file as a time zone",
                lambda: due(every="1h", timezone="../../../../etc/passwd"),
                "refused: .*time ?zone",
            ),
            (
                "a folder as a time zone",
                lambda: due(every="1h", timezone="Europe"),
                "refused: .*time ?zone",
            ),
            (
                "a term of cron that repeats",
                lambda: due(cron=",".join(["*"] * 200) + " * * * *"),
                "refused: .*200 characters",
            ),
            (
                "exclusions that leave nothing",
                lambda: due(every="1s", exclusions=[{}]),
                "refused: ",
            ),
        ]
    ),
    # --- JSON Schemas -----------------------------------------------------------------------------
    *(
        Attack("Schema bombs", name, "definition", lambda schema=schema: asking(schema()), outcome)
        for name, schema, outcome in [
            ("a schema that is itself", lambda: {"type": "object", "$ref": "#"}, "refused: "),
            (
                "a schema of another host",
                lambda: {"type": "object", "$ref": f"http://{METADATA}/latest"},
                "refused: .*outside of this schema",
            ),
            (
                "a schema of a file",
                lambda: {"type": "object", "$ref": "file:///etc/passwd"},
                "refused: .*outside of this schema",
            ),
            (
                "another dialect",
                lambda: {"type": "object", "$schema": f"http://{METADATA}/schema"},
                "refused: .*2020-12",
            ),
            ("two to the thirtieth schemas", doubling, "refused: .*more than 20000"),
            (
                "allOf within allOf",
                lambda: {
                    "type": "object",
                    **json.loads(nested('{"allOf":[', "]}", "{}", levels=25)),
                    "properties": {"a": json.loads(nested('{"not":', "}", "{}", levels=60))},
                },
                "refused: .*deeper",
            ),
            (
                "an enum of 5,001 values",
                lambda: {"type": "object", "properties": {"a": {"enum": list(range(5_001))}}},
                "refused: .*5000",
            ),
            (
                "201 patterns",
                lambda: {
                    "type": "object",
                    "properties": {f"p{n}": {"pattern": f"^a{n}"} for n in range(201)},
                },
                "refused: .*200 patterns",
            ),
            (
                "a pattern that compiles to megabytes",
                lambda: {
                    "type": "object",
                    "properties": {"a": {"pattern": "((a{1000}){1000}){1000}"}},
                },
                "refused: .*regular expression",
            ),
        ]
    ),
    *(
        Attack("Schema bombs", name, "form", payload, outcome)
        for name, payload, outcome in [
            (
                "an answer to a pattern that backtracks",
                lambda: ({"pattern": "^(a+)+$"}, "a" * 50_000 + "!"),
                "refused: ",
            ),
            (
                "an answer to a pattern that looks back",
                lambda: ({"pattern": r"^(?:(a+)+)\1$"}, "a" * 5_000 + "!"),
                "refused: ",
            ),
            (
                "names that a pattern backtracks on",
                lambda: (
                    {"patternProperties": {"^(a|aa)+$": False}, "additionalProperties": False},
                    {"a" * 5_000 + "!": 1},
                ),
                "refused: ",
            ),
            (
                "an answer nested as its schema allows",
                lambda: (
                    {
                        "anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}],
                        "type": "array",
                    },
                    json.loads(nested("[", "]", levels=60)),
                ),
                "refused: ",
            ),
            (
                "a list that has to be unique",
                lambda: ({"uniqueItems": True}, [[n] for n in range(20_000)] + [[0]]),
                "refused: ",
            ),
        ]
    ),
    # --- addresses --------------------------------------------------------------------------------
    *(
        Attack("Server-side requests", name, "host", lambda host=host: host, "refused: .*public")
        for name, host in [
            ("the metadata service", METADATA),
            ("this machine", "127.0.0.1"),
            ("this machine by name", "localhost"),
            ("this machine as one number", "2130706433"),
            ("this machine in hexadecimal", "0x7f000001"),
            ("this machine in octal", "0177.0.0.1"),
            ("this machine in short", "127.1"),
            ("no address", "0.0.0.0"),  # noqa: S104 - what is attacked with
            ("this machine in IPv6", "::1"),
            ("the metadata service, mapped into IPv6", f"::ffff:{METADATA}"),
            ("this machine, through NAT64", "64:ff9b::7f00:1"),
            ("this machine, through 6to4", "2002:7f00:1::"),
            ("a private network", "10.0.0.1"),
            ("a carrier's network", "100.64.0.1"),
            ("a link of IPv6", "fe80::1"),
            ("a unique local address", "fd00:ec2::254"),
            ("a group", "224.0.0.1"),
        ]
    ),
    Attack(
        "Server-side requests",
        "a name with a public and a private address",
        "rebinding",
        lambda: ["93.184.216.34", "127.0.0.1"],
        "refused: .*public",
    ),
    *(
        Attack("Server-side requests", name, "connector", lambda url=url: url, "refused: ")
        for name, url in [
            ("a host behind a user", "https://api.example@127.0.0.1"),
            ("a host behind a backslash", "https://api.example\\@127.0.0.1"),
            ("a line break in a URL", "https://api.example/\r\nHost: x"),
            ("a line break behind a URL", "https://api.example\n"),
            ("a file", "file:///etc/passwd"),
            ("a socket of this machine", "http+unix://%2Fvar%2Frun%2Fdocker.sock"),
            ("another protocol", "gopher://127.0.0.1:6379/_FLUSHALL"),
            ("a host in brackets", "https://[::1]"),
            ("a fragment", "https://api.example/#@127.0.0.1"),
            ("plain http to anywhere", "http://api.example"),
        ]
    ),
    *(
        Attack("Server-side requests", name, "parameter", lambda value=value: value, outcome)
        for name, value, outcome in [
            ("a climb in a parameter", "..", "refused: .*[.][.]"),
            ("a dot in a parameter", ".", "refused: .*[.]"),
            ("nothing in a parameter", "", "refused: .*empty"),
            ("a path in a parameter", "../../admin", "taken: /v1/things/..%2F..%2Fadmin"),
            ("an encoded climb", "%2e%2e%2fadmin", "taken: /v1/things/%252e%252e%252fadmin"),
            ("another host in a parameter", "@evil.example", "taken: /v1/things/%40evil.example"),
            ("a query in a parameter", "x?admin=1#", "taken: /v1/things/x%3Fadmin%3D1%23"),
            (
                "a line break in a parameter",
                "x\r\nHost: evil",
                "taken: /v1/things/x%0D%0AHost%3A%20evil",
            ),
            ("a parameter of 200,000 characters", LONG_TEXT, "refused: .*4096"),
            ("a list for a parameter", ["x"], "refused: "),
        ]
    ),
    # --- answers of a connector -------------------------------------------------------------------
    *(
        Attack("Answers of a connector", name, "answer", lambda raw=raw: raw(), outcome)
        for name, raw, outcome in [
            (
                "a redirect",
                lambda: (
                    b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n"
                    b"content-length: 0\r\n\r\n"
                ),
                "refused: .*redirect",
            ),
            (
                "a compressed answer",
                lambda: _ok(b"\x1f\x8b" + b"\0" * 100, "content-encoding: gzip"),
                "refused: .*encoded",
            ),
            (
                "an answer beyond its limit",
                lambda: _ok(b'"' + b"a" * 70_000 + b'"'),
                "refused: .*65536",
            ),
            (
                "an answer that says another length",
                lambda: (
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                    b"content-length: 99\r\n\r\n{}"
                ),
                "refused: .*(answer|peer)",
            ),
            ("a nested answer", lambda: _ok(nested("[", "]").encode()), "refused: .*deeper"),
            ("a key twice", lambda: _ok(b'{"a": 1, "a": 2}'), "refused: .*twice"),
            ("a number of 50,000 digits", lambda: _ok(b"9" * 50_000), "refused: .*too large"),
            ("half of a surrogate pair", lambda: _ok(b'"\\ud800"'), "refused: .*surrogate"),
            (
                "a head of a megabyte",
                lambda: b"HTTP/1.1 200 OK\r\nx: " + b"a" * 1_000_000 + b"\r\n\r\n",
                "refused: ",
            ),
            ("no HTTP", lambda: b"SSH-2.0-OpenSSH\r\n\r\n", "refused: "),
        ]
    ),
    # --- what people and programs are shown -------------------------------------------------------
    *(
        Attack("Output", name, "table", lambda value=value: value, outcome)
        for name, value, outcome in [
            ("an escape sequence", "\x1b[2J\x1b]0;x\x07", "taken: \ufffd\\[2J\ufffd\\]0;x\ufffd"),
            ("an escape sequence in one character", "\x9b2J", "taken: \ufffd2J"),
            ("a line of its own", "x\nadmin  active", "taken: x\u2424admin  active"),
            ("text from right to left", "\u202egnp.exe", "taken: \ufffdgnp.exe"),
            ("a carriage return", "failed\rdone", "taken: failed\ufffddone"),
            ("markup", "[link=http://x]y[/link]", r"taken: \[link=http://x\]y\[/link\]"),
        ]
    ),
    Attack(
        "Output",
        "an escape sequence in JSON",
        "json",
        lambda: "\x9b2J\u202e",
        r'taken: "\\u009b2J\\u202e"',
    ),
    Attack(
        "Output",
        "an error that says more than one line",
        "complaint",
        lambda: "no\nbackbone: all is well",
        "taken: backbone: no\n  backbone: all is well",
    ),
    Attack(
        "Output",
        "a line break and an escape in a log",
        "log",
        lambda: 'x\n{"level": "error"}\x1b[2J',
        "taken: 1 line",
    ),
    Attack(
        "Output",
        "a template in a title",
        "expression",
        lambda: ("'{{7*7}} ${jndi:ldap://x} {0.__class__} ' + event", {"event": "%n"}),
        r'taken: "\{\{7\*7\}\} \$\{jndi:ldap://x\} \{0.__class__\} %n"',
    ),
    # --- files ------------------------------------------------------------------------------------
    *(
        Attack("Files", name, "path", lambda path=path: path, outcome)
        for name, path, outcome in [
            ("a file without an end", "/dev/zero", "refused: .*256 KiB"),
            ("a folder", "/etc", "refused: .*cannot be read"),
            ("a file that is no document", "/etc/passwd", "refused: .*(YAML|definition)"),
            ("a name with NUL", "a\0b", "refused: "),
            ("a link to itself", "loop", "refused: .*cannot be read"),
            ("a name of 5,000 characters", "a" * 5_000, "refused: .*cannot be read"),
        ]
    ),
    # --- page tokens ------------------------------------------------------------------------------
    *(
        Attack("Page tokens", name, "token", lambda token=token: token, "refused: .*page_token")
        for name, token in [
            ("a token that nests", base64.urlsafe_b64encode(b"[" * DEEP).decode()),
            ("a token that is none", "%%%"),
            ("a token that is not ASCII", "\u00e9"),
            ("a token of nothing", base64.urlsafe_b64encode(b"[]").decode()),
            ("a token of an object", base64.urlsafe_b64encode(b'{"a": 1}').decode()),
            ("a token of another list", base64.urlsafe_b64encode(b'["x", "1"]').decode()),
        ]
    ),
]


def _post(body: bytes, *headers: str, query: str = "") -> bytes:
    names = {header.partition(":")[0].strip() for header in headers}
    head = [f"POST /events{query} HTTP/1.1", "host: x", *headers]
    if "content-type" not in names:
        head.append("content-type: application/json")
    if not names & {"content-length", "transfer-encoding"}:
        head.append(f"content-length: {len(body)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def _ok(body: bytes, *headers: str) -> bytes:
    head = ["HTTP/1.1 200 OK", "content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*head, *headers]).encode() + b"\r\n\r\n" + body
