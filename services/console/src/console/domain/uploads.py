"""Files that somebody chose to apply: within bounds, and carried from the plan to the apply.

A plan is shown before it is carried out, and nothing is kept meanwhile: the page of the plan holds
the files, and sends the same bytes back.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from console.errors import BadRequestError

MAX_DOCUMENTS = 200
MAX_DOCUMENT_BYTES = 256 * 1024
# Sent back as base64 in a form, which has 4 MiB.
MAX_SET_BYTES = 2 * 1024 * 1024
_MAX_NAME = 255
_BY_COMMAND = "apply them in parts, or with `backbone apply`"


@dataclass(frozen=True)
class Upload:
    """A file: what problems call it, and its bytes."""

    name: str
    content: bytes

    @property
    def carried(self) -> str:
        """Its bytes as a field of a form, which would change line breaks of a text."""
        return base64.b64encode(self.content).decode()


def checked(uploads: Sequence[Upload]) -> list[Upload]:
    """Return uploads that one apply takes. Raises BadRequestError, which says what is too much."""
    if not uploads:
        raise BadRequestError("No file was chosen: choose the documents to apply.")
    if len(uploads) > MAX_DOCUMENTS:
        raise BadRequestError(
            f"These are {len(uploads):,} files, and the page takes {MAX_DOCUMENTS}: {_BY_COMMAND}."
        )
    for upload in uploads:
        if len(upload.content) > MAX_DOCUMENT_BYTES:
            raise BadRequestError(
                f"{upload.name[:_MAX_NAME]} has more than {MAX_DOCUMENT_BYTES // 1024} KiB, and a "
                "document has at most that."
            )
    if sum(len(upload.content) for upload in uploads) > MAX_SET_BYTES:
        raise BadRequestError(
            f"These files have more than {MAX_SET_BYTES // 1024 // 1024} MiB together, and the "
            f"page takes that: {_BY_COMMAND}."
        )
    return [Upload(upload.name[:_MAX_NAME], upload.content) for upload in uploads]


def returned(names: Sequence[str], contents: Sequence[str]) -> list[Upload]:
    """Return the uploads that a plan's page has sent back. Raises BadRequestError."""
    try:
        if len(names) != len(contents):
            raise ValueError("names and contents")
        found = [
            Upload(name, base64.b64decode(content, validate=True))
            for name, content in zip(names, contents, strict=True)
        ]
    except (ValueError, binascii.Error) as exc:
        raise BadRequestError("The files did not come back whole: choose them again.") from exc
    return checked(found)
