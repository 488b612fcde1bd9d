"""Look-alikes: a character that passes for another is called by its name."""

import pytest

from registry.domain import characters


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("billing", ""),
        ("b\u0430ck", "U+0430 CYRILLIC SMALL LETTER A, which looks like 'a'"),
        ("\u03bfverdue", "U+03BF GREEK SMALL LETTER OMICRON, which looks like 'o'"),
        ("caf\u00e9", "U+00E9 LATIN SMALL LETTER E WITH ACUTE, which looks like 'e'"),
        ("\uff41", "U+FF41 FULLWIDTH LATIN SMALL LETTER A, which looks like 'a'"),
        ("a\u2013b", "U+2013 EN DASH, which looks like '-'"),
        ("a\u00a0b", "U+00A0 NO-BREAK SPACE, which looks like ' '"),
        ("a\u200bb", "U+200B ZERO WIDTH SPACE, which cannot be seen"),
        ("\u202eb", "U+202E RIGHT-TO-LEFT OVERRIDE, which cannot be seen"),
        ("\u8acb", "U+8ACB CJK UNIFIED IDEOGRAPH-8ACB"),
        ("\ue000", "U+E000 a character without a name"),
    ],
)
def test_the_first_stranger_is_named(text: str, named: str) -> None:
    assert characters.named(text) == named


@pytest.mark.parametrize(
    ("text", "alike"),
    [
        ("b\u0456lling.\u043ev\u0435rdue", "billing.overdue"),
        ("\u200bdev\ufeff", "dev"),
        ("\u8acb", "\u8acb"),
        ("plain", "plain"),
    ],
)
def test_strangers_are_replaced_by_what_they_look_like(text: str, alike: str) -> None:
    assert characters.ascii_alike(text) == alike
