"""What is found wrong in a document: where, what, and what would be right."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something wrong: where, as `spec.rules[0].when`, and a sentence that says what and how."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"
