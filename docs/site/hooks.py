"""What MkDocs calls while it builds the site: pages that are generated, and links out of docs/."""

from pathlib import PurePosixPath
from typing import Any

import gfm
import reference
import repository
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of a folder where the navigation names it: `adr/`."""
    config.nav = _filled(config.nav)
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages of the reference, and what pages link to outside of docs/.

    Raises:
        PluginError: a link leads nowhere.
    """
    for place, write in reference.PAGES.items():
        files.append(File.generated(config, place, content=write()))
    waiting = [file for file in files if file.src_uri.endswith(".md")]
    while waiting:
        page = waiting.pop()
        try:
            targets = list(repository.linked(page.content_string, page.src_uri))
        except repository.Missing as exc:
            raise PluginError(str(exc)) from exc
        for target in targets:
            place = repository.place(target)
            if files.get_file_from_path(place) is None and place.startswith(repository.PREFIX):
                added = _page(config, place, target)
                files.append(added)
                # Only a document of ours is read for links: code is shown as it is.
                if target.suffix == ".md" or place.endswith("README.md"):
                    waiting.append(added)
    return files


def on_page_markdown(
    markdown: str, *, page: Page, config: MkDocsConfig, files: Files
) -> str:  # MkDocs names them
    """Lead links to where their targets stand in the site."""
    del config, files
    return gfm.adapted(repository.mapped(markdown, page.file.src_uri))


def _page(config: MkDocsConfig, place: str, target: PurePosixPath) -> File:
    return File.generated(
        config, place, content=repository.text(target), inclusion=InclusionLevel.NOT_IN_NAV
    )


def _filled(entry: Any) -> Any:
    match entry:
        case list():
            return [_filled(one) for one in entry]
        case dict():
            return {title: _filled(one) for title, one in entry.items()}
        case str() if entry.endswith("/"):
            pages = sorted((repository.ROOT / "docs" / entry).glob("*.md"))
            # The index of a folder comes before what it lists.
            return [f"{entry}{one.name}" for one in sorted(pages, key=lambda p: p.stem != "README")]
        case _:
            return entry
