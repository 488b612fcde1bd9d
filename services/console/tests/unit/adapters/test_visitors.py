import base64
import json

import pytest

from console.adapters import visitors
from console.adapters.visitors import Visitor
from console.errors import SignedOutError


def token(claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.signature"


def test_a_token_says_whose_it_is() -> None:
    assert visitors.name_in(token({"sub": "ana"})) == "ana"


@pytest.mark.parametrize("text", ["", "word", "a.b.c", token([]), token({}), token(None), "a.é.c"])
def test_what_says_nothing_is_somebodys(text: str) -> None:
    assert visitors.name_in(text) == "somebody"


@pytest.mark.parametrize("text", ["", "two words", "line\nbreak", "x" * 3801, "é"])
def test_what_no_cookie_holds_is_no_token(text: str) -> None:
    assert not visitors.is_token(text)


def test_a_call_has_the_token_of_who_visits_and_none_afterwards() -> None:
    with visitors.visiting(Visitor("ana", "a-token")):
        assert visitors.current_token() == "a-token"
    with pytest.raises(SignedOutError):
        visitors.current_token()
