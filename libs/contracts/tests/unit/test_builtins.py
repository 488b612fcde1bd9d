"""What the catalogue says of built-in handlers, and what they are known to take."""

import pytest
from pydantic import ValidationError

from contracts import builtins
from contracts.catalogue import Catalogue

CRM = {
    "http": {
        "url": "https://crm.test",
        "calls": {"POST /notes/{id}": {"parameters": [{"name": "id", "type": "text"}]}},
    }
}
READ = {"http": {"url": "https://erp.test", "paths": {"/a": {}}}}


def _catalogue(**handlers):
    return Catalogue.model_validate(
        {"connectors": {"crm": CRM, "erp": READ}, "topics": ["events"], "handlers": handlers}
    )


def test_the_input_of_a_built_in_handler_names_what_the_catalogue_has():
    known = _catalogue(
        call={"taskQueue": "a-tq", "builtIn": "http_call"},
        publish={"taskQueue": "b-tq", "builtIn": "publish_event"},
        start={"taskQueue": "b-tq", "builtIn": "start_definition"},
        own={"taskQueue": "c-tq", "input": {"type": "object"}},
    )
    schemas = {name: builtins.input_schema(known, one) for name, one in known.handlers.items()}
    call = schemas["call"]["properties"]
    assert (call["connector"]["enum"], call["method"]["enum"]) == (["crm"], ["POST"])
    assert call["path"]["enum"] == ["/notes/{id}"]
    assert schemas["publish"]["properties"]["topic"]["enum"] == ["events"]
    assert schemas["start"]["required"] == ["definition_id"]
    assert schemas["own"] == {"type": "object"}


@pytest.mark.parametrize(
    ("handlers", "says"),
    [
        ({"a": {"taskQueue": "a-tq", "builtIn": "mail"}}, "http_call"),
        ({"a": {"taskQueue": "a-tq", "builtIn": "http_call", "input": {}}}, "leave it out"),
        ({"a": {"taskQueue": "a-tq", "maxConcurrency": 1}}, "have them in their code"),
        ({"a": {"taskQueue": "a-tq", "builtIn": "http_call", "maxConcurrency": 0}}, "greater"),
        (
            {
                "a": {"taskQueue": "a-tq", "builtIn": "http_call", "ratePerSecond": 5},
                "b": {"taskQueue": "a-tq"},
            },
            "handler a has limits, and shares a-tq with b",
        ),
    ],
)
def test_a_handler_that_cannot_be_served_so_is_refused(handlers, says):
    with pytest.raises(ValidationError, match=says):
        _catalogue(**handlers)


@pytest.mark.parametrize(
    "call", ["TRACE /a", "POST a", "POST /a b", "post /a", "POST /x?y", "/abcd"]
)
def test_a_call_is_a_method_and_a_path(call):
    with pytest.raises(ValidationError, match="pattern"):
        Catalogue.model_validate(
            {"connectors": {"crm": {"http": {"url": "https://crm.test", "calls": {call: {}}}}}}
        )


def test_a_call_declares_the_parameters_of_its_path():
    with pytest.raises(ValidationError, match="declares no parameter id"):
        Catalogue.model_validate(
            {
                "connectors": {
                    "crm": {"http": {"url": "https://crm.test", "calls": {"PUT /a/{id}": {}}}}
                }
            }
        )


@pytest.mark.parametrize("topic", ["backbone.task-events", "a b", ""])
def test_a_topic_of_backbones_own_or_of_nobodys_is_refused(topic):
    with pytest.raises(ValidationError, match="topics"):
        Catalogue.model_validate({"topics": [topic]})
