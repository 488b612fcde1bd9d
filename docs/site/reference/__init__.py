"""The pages of the reference, written from the code they are about; none of them is checked in.

Each module has `page() -> str`, the Markdown of one page; `PAGES` says where it stands in the site.
"""

from collections.abc import Callable, Mapping

from reference import commands, events, grpc, language, metrics, settings

PAGES: Mapping[str, Callable[[], str]] = {
    "reference/settings.md": settings.page,
    "reference/commands.md": commands.page,
    "reference/definition-language.md": language.page,
    "reference/metrics.md": metrics.page,
    "reference/events.md": events.page,
    "reference/grpc.md": grpc.page,
}
"""What writes each page, by its place below docs/."""
