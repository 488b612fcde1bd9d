"""Page tokens."""

from datetime import UTC, datetime

import pytest

from ledger.adapters import pages
from ledger.errors import InvalidRequestError


def test_token_gives_back_its_position() -> None:
    assert pages.position(pages.token("42", "runs", "dev"), "runs", "dev") == 42
    at = datetime(2026, 11, 1, 12, 0, 0, 5, tzinfo=UTC)
    assert pages.instant(pages.token(at.isoformat(), "due"), "due") == at


def test_first_page_has_no_token() -> None:
    assert pages.position("", "runs") is None


@pytest.mark.parametrize("token", ["x", "e30=", pages.token("word", "runs"), "[]", "ä"])
def test_text_that_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequestError, match="page_token"):
        pages.position(token, "runs")


def test_token_of_another_list_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="other filters"):
        pages.position(pages.token("42", "runs", "dev"), "runs", "prod")


@pytest.mark.parametrize("asked", [-1, pages.MAX_SIZE + 1])
def test_page_size_has_limits(asked: int) -> None:
    with pytest.raises(InvalidRequestError, match="page_size"):
        pages.size(asked)
    assert pages.size(0) == pages.DEFAULT_SIZE


def test_full_page_says_that_more_follow_only_when_they_do() -> None:
    assert pages.split([1, 2, 3], 2) == ([1, 2], 2)
    assert pages.split([1, 2], 2) == ([1, 2], None)


def test_page_of_heavy_rows_holds_fewer_but_never_none() -> None:
    heavy = pages.MAX_BYTES // 2 + 1
    assert pages.split([1, 2, 3], 5, weigh=lambda _: heavy) == ([1], 1)
    assert pages.split([1], 5, weigh=lambda _: 2 * heavy) == ([1], None)
