"""Labels as people type them: `tier=gold team=billing`."""


def parse(text: str) -> dict[str, str]:
    """Return labels by their names. Raises ValueError with a sentence."""
    labels: dict[str, str] = {}
    for word in text.replace(",", " ").split():
        name, is_pair, value = word.partition("=")
        if not (name and is_pair):
            raise ValueError("A label is a name and a value, such as tier=gold.")
        labels[name] = value
    return labels
