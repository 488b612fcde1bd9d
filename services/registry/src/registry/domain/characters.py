"""Characters that look like others: a reader cannot tell them apart, so they are named."""

import unicodedata

_DRAWN_ALIKE = (
    # Cyrillic.
    ("\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501", "aeopcyxijshd"),
    ("\u051b\u051d\u0433\u043a\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420", "qwrkABEKMHOP"),
    ("\u0421\u0422\u0423\u0425\u0406\u0408\u0405", "CTYXIJS"),
    # Greek.
    ("\u03b1\u03bf\u03c1\u03bd\u03b9\u03ba\u03c5\u0391\u0392\u0395\u0396\u0397", "aopvikuABEZH"),
    ("\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7", "IKMNOPTYX"),
    # Others, dashes among them.
    ("\u0131\u0261\u2113\u2010\u2011\u2012\u2013\u2014\u2212\u2024", "igl------."),
)
_TO_ASCII = str.maketrans(
    "".join(strange for strange, _ in _DRAWN_ALIKE), "".join(plain for _, plain in _DRAWN_ALIKE)
)
# Accents, and what is not drawn at all.
_DROPPED = frozenset({"Mn", "Cf"})


def ascii_alike(text: str) -> str:
    """Return `text` with what looks like an ASCII character replaced by it, as far as is known."""
    if text.isascii():
        return text
    drawn = unicodedata.normalize("NFKD", text.translate(_TO_ASCII))
    return "".join(letter for letter in drawn if unicodedata.category(letter) not in _DROPPED)


def named(text: str) -> str:
    """Return what people call the first character that is not ASCII; nothing if there is none."""
    stranger = next((letter for letter in text if not letter.isascii()), None)
    if stranger is None:
        return ""
    name = unicodedata.name(stranger, "a character without a name")
    alike = ascii_alike(stranger)
    looks = ""
    if not alike:
        looks = ", which cannot be seen"
    elif alike.isascii():
        looks = f", which looks like {alike!r}"
    return f"U+{ord(stranger):04X} {name}{looks}"
