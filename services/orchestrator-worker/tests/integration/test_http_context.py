"""HTTP connectors against a real server, friendly and hostile."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import http_api
import pytest
from http_api import Api, Behaviour

from contracts.catalogue import HttpConnector
from contracts.definitions import HttpQuery
from orchestrator_worker.adapters.http_context import HttpContextSource
from orchestrator_worker.errors import (
    AddressRefusedError,
    ConnectorError,
    ContextUnavailableError,
    ResponseError,
)
from runtime import connectorsecrets
from runtime.httpconnectors import HttpConnectors

LOOPBACK = ["127.0.0.0/8"]
CUSTOMER = {
    "parameters": [
        {"name": "id", "type": "text"},
        {"name": "since", "type": "timestamptz", "nullable": True},
        {"name": "all", "type": "boolean"},
    ]
}
GIVEN = {"id": "c-1", "since": None, "all": True}
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
OF_ITS_LENGTH = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n"


class Source:
    """A connector `crm` to a test's server, and the names that its DNS knows."""

    def __init__(self, resolve: Callable[[], Sequence[str]] | None, **fields: Any) -> None:
        connector = HttpConnector.model_validate(
            {
                "networks": LOOPBACK,
                "timeout": "1s",
                "paths": {"/thing": {"maxBytes": 2000}, "/customers/{id}": CUSTOMER},
                **fields,
            }
        )
        self.resolved = 0

        async def stub(_host: str, _port: int) -> Sequence[str]:
            self.resolved += 1
            assert resolve is not None
            return resolve()

        names = {} if resolve is None else {"resolve": stub}
        self.source = HttpContextSource(
            HttpConnectors({"crm": connector}, token=connectorsecrets.token, agent="test", **names)
        )

    async def ask(self, path: str = "/thing", **parameters: Any) -> Any:
        query = HttpQuery(connector="crm", path=path)
        return await self.source.query("context c (crm)", query, parameters)


MakeSource = Callable[..., Source]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with http_api.api() as served:
        yield served


@pytest.fixture
async def make_source(api: Api) -> AsyncIterator[MakeSource]:
    """Make a source of the test's server, by fields of its connector."""
    made: list[Source] = []

    def make(*, resolve: Callable[[], Sequence[str]] | None = None, **fields: Any) -> Source:
        made.append(Source(resolve, **{"url": f"http://127.0.0.1:{api.port}", **fields}))
        return made[-1]

    yield make
    for one in made:
        await one.source.close()


async def test_an_answer_is_its_json_and_connections_are_kept(
    api: Api, make_source: MakeSource
) -> None:
    source = make_source()
    value = {"name": "Ä", "tags": [1, 2.5, None, True]}
    api.answers["/thing"] = http_api.as_json(value)
    assert [await source.ask(), await source.ask()] == [value, value]
    assert api.connections == 1


async def test_parameters_stay_in_their_place_whatever_they_hold(
    api: Api, make_source: MakeSource
) -> None:
    source = make_source(url=f"http://127.0.0.1:{api.port}/v2")
    hostile = "../x?a=b#c\r\nHost: evil\r\n\r\n%2e/é"
    target = (
        "/v2/customers/..%2Fx%3Fa%3Db%23c%0D%0AHost%3A%20evil%0D%0A%0D%0A%252e%2F%C3%A9"
        "?since=2026-01-01T00%3A00%3A00Z&all=true"
    )
    api.answers[target] = http_api.as_json("found")
    given = {"id": hostile, "since": "2026-01-01T01:00:00+01:00", "all": True}
    assert await source.ask("/customers/{id}", **given) == "found"
    assert api.targets == [target]
    assert api.headers[0]["host"] == f"127.0.0.1:{api.port}"


async def test_a_query_parameter_that_is_null_is_left_out(
    api: Api, make_source: MakeSource
) -> None:
    api.answers["/customers/c-1?all=true"] = http_api.as_json({})
    assert await make_source().ask("/customers/{id}", **GIVEN) == {}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({**GIVEN, "id": ".."}, "a part of the path . or .."),
        ({**GIVEN, "id": ""}, "parameter id: it is empty or null"),
        ({**GIVEN, "id": 7}, "parameter id: expected text"),
        ({**GIVEN, "id": "a\x00"}, "character NUL"),
        ({**GIVEN, "id": "x" * 5000}, "characters, more than 4096"),
    ],
)
async def test_a_parameter_that_no_path_can_hold_is_final(
    api: Api, make_source: MakeSource, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(ResponseError, match=says):
        await make_source().ask("/customers/{id}", **given)
    assert api.connections == 0


@pytest.mark.parametrize(
    ("path", "given", "says"),
    [
        ("/admin", {}, "no such path"),
        ("/thing", {"id": "1"}, r"takes the parameters \(none\) and was given id"),
        ("/customers/{id}", {}, "takes the parameters id, since, all"),
    ],
)
async def test_what_the_catalogue_does_not_list_is_not_asked(
    api: Api, make_source: MakeSource, path: str, given: dict[str, Any], *, says: str
) -> None:
    with pytest.raises(ConnectorError, match=says):
        await make_source().ask(path, **given)
    assert api.connections == 0


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        (
            http_api.answer(b"", status="302 Found", location="http://169.254.169.254/"),
            r"a redirect \(302\), which is not followed",
        ),
        (http_api.endlessly(CHUNKED, b"3e8\r\n" + b"1" * 1000 + b"\r\n"), "more than the 2000"),
        (http_api.answer(b'"' + b"x" * 2000 + b'"'), "more than the 2000 bytes"),
        (http_api.answer(b"<p>hi", content_type="text/html"), "of the type text/html"),
        (http_api.answer(b"\x1f\x8b", content_encoding="gzip"), r"encoded \(gzip\), unasked"),
        (http_api.answer(b"{"), "not usable JSON"),
        (http_api.answer(b'{"a":1,"a":2}'), "not usable JSON"),
        (http_api.answer(b"[NaN]"), "not usable JSON"),
        (http_api.answer(b'"\xff"'), "not usable JSON"),
        (http_api.answer(b"[" * 200 + b"]" * 200), "not usable JSON"),
        (http_api.answer(b"", status="204 No Content", content_length="0"), "answers 204"),
        (http_api.answer(b"{}", status="404 Not Found"), "answers 404"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
async def test_an_answer_that_cannot_be_used_is_final(
    api: Api, make_source: MakeSource, behaviour: Behaviour, says: str
) -> None:
    api.answers["/thing"] = behaviour
    with pytest.raises(ResponseError, match=says):
        await make_source().ask()
    assert api.targets == ["/thing"]


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        (http_api.endlessly(CHUNKED, b"1\r\n1\r\n", pause=0.05), "no whole answer within 1 s"),
        (http_api.endlessly(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n", pause=0.05), "within 1 s"),
        (http_api.endlessly(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 999), "does not answer"),
        (http_api.cut(OF_ITS_LENGTH + b"[1"), "does not answer"),
        (http_api.cut(b"SSH-2.0-OpenSSH\r\n"), "does not answer"),
        (http_api.cut(b""), "does not answer"),
        (http_api.answer(b"{}", status="503 Busy"), "answers 503"),
        (http_api.answer(b"{}", status="429 Slow Down"), "answers 429"),
        (http_api.answer(b"{}", status="401 Who"), "answers 401"),
    ],
    ids=["drip", "drip-in-head", "endless-head", "cut", "not-http", "hang-up", "503", "429", "401"],
)
async def test_an_answer_that_may_be_better_later_may_be_asked_again(
    api: Api, make_source: MakeSource, behaviour: Behaviour, says: str
) -> None:
    source = make_source()
    api.answers["/thing"] = behaviour
    with pytest.raises(ContextUnavailableError, match=says):
        await source.ask()
    api.answers["/thing"] = http_api.as_json("well again")
    assert await source.ask() == "well again"


async def test_a_host_that_is_away_or_unknown_may_be_asked_again(make_source: MakeSource) -> None:
    with pytest.raises(ContextUnavailableError, match="does not answer"):
        await make_source(url="http://127.0.0.1:1").ask()
    with pytest.raises(ContextUnavailableError, match="is not resolved"):
        await make_source(url="http://crm.invalid").ask()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "0x7f000001", "2130706433", "localhost", "169.254.169.254", "10.1.2.3"]
)
async def test_no_spelling_of_an_address_leads_into_our_own_network(
    api: Api, make_source: MakeSource, host: str
) -> None:
    source = make_source(url=f"https://{host}:{api.port}", networks=None)
    with pytest.raises(AddressRefusedError, match="is no public address"):
        await source.ask()
    assert api.connections == 0


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1", "fd00::1", "fe80::1%1", "64:ff9b::7f00:1"],
)
async def test_a_name_may_not_lead_there_either(
    api: Api, make_source: MakeSource, address: str
) -> None:
    # One address that is allowed does not excuse another: which of them answers is chance.
    source = make_source(
        resolve=lambda: ["8.8.8.8", address], url=f"https://crm.test:{api.port}", networks=None
    )
    with pytest.raises(AddressRefusedError) as caught:
        await source.ask()
    assert f"crm.test is at {address}, which is no public address" in str(caught.value)
    assert api.connections == 0


async def test_the_address_that_was_looked_at_is_the_one_that_is_used(
    api: Api, make_source: MakeSource
) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    source = make_source(
        resolve=lambda: next(answers), url=f"http://crm.test:{api.port}", networks=LOOPBACK
    )
    api.answers["/thing"] = http_api.as_json("ours")
    # Nobody but the stub knows this name: a second look would find nothing, or the other answer.
    assert await source.ask() == "ours"
    assert source.resolved == 1
    await source.source.close()
    with pytest.raises(AddressRefusedError, match=r"169\.254\.169\.254, outside of the networks"):
        await source.ask()


async def test_the_next_address_is_tried_where_one_does_not_answer(
    api: Api, make_source: MakeSource
) -> None:
    source = make_source(
        resolve=lambda: ["127.255.255.254", "127.0.0.1"], url=f"http://crm.test:{api.port}"
    )
    api.answers["/thing"] = http_api.as_json("second")
    assert await source.ask() == "second"


async def test_no_proxy_of_the_environment_is_used(
    api: Api, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    api.answers["/thing"] = http_api.as_json("direct")
    assert await make_source().ask() == "direct"


async def test_the_token_is_sent_read_anew_and_never_told(
    api: Api, make_source: MakeSource, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    source = make_source(tokenFile=str(file), tokenHeader="X-Key", tokenPrefix="")
    api.answers["/thing"] = http_api.answer(b"{", content_type="text/plain")
    for secret in ("s3cret-1", "s3cret-2"):
        file.write_text(f"{secret}\n")
        with pytest.raises(ResponseError) as caught:
            await source.ask()
        assert secret not in str(caught.value)
    assert [headers["x-key"] for headers in api.headers] == ["s3cret-1", "s3cret-2"]
    file.write_text("two\nlines")
    with pytest.raises(ContextUnavailableError, match="not one line of printable ASCII"):
        await source.ask()


@pytest.fixture
async def tls_api() -> AsyncIterator[Api]:
    async with http_api.api(tls=True) as served:
        yield served


async def test_tls_is_spoken_with_the_host_by_its_name(
    tls_api: Api, make_source: MakeSource
) -> None:
    tls_api.answers["/thing"] = http_api.as_json("secret")
    here = {"resolve": lambda: ["127.0.0.1"], "networks": LOOPBACK}
    url = f"https://crm.test:{tls_api.port}"
    trusting = make_source(**here, url=url, caFile=str(http_api.CERTIFICATE))
    assert await trusting.ask() == "secret"
    assert tls_api.server_names == ["crm.test"]
    assert await trusting.source.check("crm") == f"{url} answers; 2 paths"


@pytest.mark.parametrize(("host", "trusted"), [("other.test", True), ("crm.test", False)])
async def test_a_certificate_of_another_or_that_nobody_vouches_for_is_not_taken(
    tls_api: Api, make_source: MakeSource, host: str, *, trusted: bool
) -> None:
    source = make_source(
        resolve=lambda: ["127.0.0.1"],
        url=f"https://{host}:{tls_api.port}",
        caFile=str(http_api.CERTIFICATE) if trusted else None,
    )
    with pytest.raises(ContextUnavailableError, match="certificate verify failed"):
        await source.ask()
    with pytest.raises(ContextUnavailableError, match="certificate verify failed"):
        await source.source.check("crm")
    assert tls_api.targets == []


async def test_check_says_what_is_wrong(make_source: MakeSource) -> None:
    away = make_source(url="http://127.0.0.1:1")
    with pytest.raises(ContextUnavailableError, match=r"127\.0\.0\.1:1 does not answer"):
        await away.source.check("crm")
    own = make_source(url="https://127.0.0.1", networks=None)
    with pytest.raises(AddressRefusedError, match="no public address"):
        await own.source.check("crm")
