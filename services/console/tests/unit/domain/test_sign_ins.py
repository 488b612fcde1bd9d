import pytest

from console.domain import sign_ins
from console.domain.sign_ins import SignIn

STATE, NONCE, VERIFIER = ("s" * 43, "n" * 43, "v" * 43)
SIGN_IN = SignIn(STATE, NONCE, VERIFIER, "/dev/search?q=%C3%A9&x=1")


def test_what_a_browser_keeps_is_what_was_begun() -> None:
    made = iter((STATE, NONCE, VERIFIER))
    begun = sign_ins.begin(SIGN_IN.where, secret=lambda: next(made))
    assert begun == SIGN_IN
    assert sign_ins.parsed(begun.kept()) == begun
    assert begun.id == sign_ins.id_in(STATE) == "s" * 16


def test_what_is_said_of_it_holds_no_secret() -> None:
    assert not any(secret in repr(SIGN_IN) for secret in (STATE, NONCE, VERIFIER))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        f"{STATE}.{NONCE}.{VERIFIER}",
        f"{STATE}.{NONCE}.{VERIFIER}.zz",
        f"{STATE}.{NONCE}.{VERIFIER}.ff",
        f"{STATE}.{NONCE}.{VERIFIER}.2f.2f",
        f"{STATE}.{NONCE}.{'v' * 42}!.2f",
        f"{STATE}.{NONCE}.short.2f",
    ],
)
def test_what_is_no_sign_in_is_none(text: str) -> None:
    assert sign_ins.parsed(text) is None


def local(where: str) -> str:
    return sign_ins.local(where, namespaces=("dev", "prod"), otherwise="/home")


@pytest.mark.parametrize(
    "where",
    [
        "/dev/overview",
        "/prod/run?id=a%3Ab",
        "/dev/search?q=//elsewhere.example",
        "/dev/",
        "/dev/a#b",
    ],
)
def test_a_page_of_ours_is_come_back_to(where: str) -> None:
    assert local(where) == where


@pytest.mark.parametrize(
    "where",
    [
        "",
        "/",
        "dev/overview",
        "//elsewhere.example/dev/x",
        "/\\elsewhere.example/dev",
        "\\/elsewhere.example/dev/x",
        "https://elsewhere.example/dev/x",
        "javascript:alert(1)",
        "/other/overview",
        "/dev",
        "/dev/../../elsewhere",
        "/dev/\\elsewhere",
        "/dev/over view",
        "/dev/overview\r\nset-cookie: a=b",
        "/dev/overview\n",
        "/dev/é",
        "/dev/sign-in",
        "/dev/sign-in?to=/dev/sign-in",
        "/dev/sign-out",
        "/dev/" + "x" * 508,
    ],
)
def test_anything_else_is_not(where: str) -> None:
    assert local(where) == "/home"
