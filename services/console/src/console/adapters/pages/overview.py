"""What ran, what waits, what failed, what is late."""

from starlette.responses import Response

from console.adapters.areas import Area, Page, get


async def show(page: Page) -> Response:
    """Show the overview, whose figures ask for themselves again."""
    return page.render("overview/page.html")


AREA = Area("overview", [get("overview", show)], title="Overview")
