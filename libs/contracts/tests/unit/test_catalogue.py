"""What a catalogue refuses."""

import pytest
from pydantic import ValidationError

from contracts.catalogue import Catalogue

ONE = {"all": {"sql": "SELECT 1"}}


@pytest.mark.parametrize(
    ("connector", "says"),
    [
        ({"statements": ONE}, "either dsnEnv or dsnFile"),
        ({"dsnEnv": "A", "dsnFile": "/a", "statements": ONE}, "either dsnEnv or dsnFile"),
        ({"dsnEnv": "A", "statementTimeout": "21s", "statements": ONE}, "at most 20s"),
        ({"dsnEnv": "A", "statements": {}}, "at least 1 item"),
        (
            {
                "dsnEnv": "A",
                "statements": {
                    "all": {
                        "sql": "SELECT 1",
                        "parameters": [{"name": "a", "type": "text"}] * 2,
                    }
                },
            },
            "parameters share a name: a",
        ),
        (
            {
                "dsnEnv": "A",
                "statements": {"all": {"sql": "", "parameters": [{"name": "a", "type": "money"}]}},
            },
            "parameters.0.type",
        ),
    ],
)
def test_a_connector_that_cannot_be_used_is_refused(connector, says):
    with pytest.raises(ValidationError, match=says):
        Catalogue.model_validate({"connectors": {"db": {"postgres": connector}}})


HTTPS = "https://crm.example.com/v2"
PATHS = {"/c/{id}": {"parameters": [{"name": "id", "type": "text"}]}}


@pytest.mark.parametrize(
    "fields",
    [
        {"url": HTTPS},
        {"url": "https://crm.example.com:8443", "tokenEnv": "A", "networks": ["10.0.0.0/8"]},
        {"url": "http://127.0.0.1:80", "networks": ["127.0.0.0/8", "::1/128"]},
        {"url": HTTPS, "tokenFile": "/run/token", "tokenHeader": "X-Key", "tokenPrefix": ""},
    ],
)
def test_an_http_connector_that_can_be_used(fields):
    made = Catalogue.model_validate({"connectors": {"crm": {"http": {"paths": PATHS, **fields}}}})
    assert made.connectors["crm"].http is not None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"url": "ftp://crm.example.com"}, "pattern"),
        ({"url": "https://ann@crm.example.com"}, "pattern"),
        ({"url": "https://crm.example.com?a=b"}, "pattern"),
        ({"url": "https://crm.example.com#a"}, "pattern"),
        ({"url": "https://crm.example.com/a/"}, "pattern"),
        ({"url": "http://crm.example.com"}, "plain http is for networks of your own"),
        ({"url": HTTPS, "networks": []}, "at least 1 item"),
        ({"url": HTTPS, "networks": ["10.0.0.1/8"]}, "not a valid IPv4 or IPv6 network"),
        ({"url": HTTPS, "tokenEnv": "A", "tokenFile": "/a"}, "tokenEnv or tokenFile, not both"),
        ({"url": HTTPS, "tokenHeader": "X: y"}, "pattern"),
        ({"url": HTTPS, "tokenPrefix": "a\r\nb"}, "pattern"),
        ({"url": HTTPS, "timeout": "21s"}, "at most 20s"),
        ({"url": HTTPS, "paths": {}}, "lists paths, or calls"),
        ({"url": HTTPS, "paths": {"c": {}}}, "pattern"),
        ({"url": HTTPS, "paths": {"/c/{id": {}}}, "a brace stands alone"),
        ({"url": HTTPS, "paths": {"/c/{id}": {}}}, "declares no parameter id"),
        ({"url": HTTPS, "paths": {"/c": {"redact": ["a..b"]}}}, "pattern"),
        ({"url": HTTPS, "postgres": {}}, "postgres"),
    ],
)
def test_an_http_connector_that_cannot_be_used_is_refused(fields, says):
    with pytest.raises(ValidationError, match=says):
        Catalogue.model_validate({"connectors": {"crm": {"http": {"paths": PATHS, **fields}}}})


def test_a_connector_has_one_technology():
    with pytest.raises(ValidationError, match="either postgres or http"):
        Catalogue.model_validate({"connectors": {"crm": {}}})


def test_a_technology_that_is_not_known_is_refused():
    with pytest.raises(ValidationError, match=r"connectors\.db\.mysql"):
        Catalogue.model_validate({"connectors": {"db": {"mysql": {}}}})


def test_no_handlers_and_an_empty_list_of_them_differ():
    assert Catalogue.model_validate({"connectors": {}}).handlers is None
    assert Catalogue.model_validate({"handlers": {}}).handlers == {}
