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


def test_a_technology_that_is_not_known_is_refused():
    with pytest.raises(ValidationError, match=r"connectors\.db\.mysql"):
        Catalogue.model_validate({"connectors": {"db": {"mysql": {}}}})


def test_no_handlers_and_an_empty_list_of_them_differ():
    assert Catalogue.model_validate({"connectors": {}}).handlers is None
    assert Catalogue.model_validate({"handlers": {}}).handlers == {}
