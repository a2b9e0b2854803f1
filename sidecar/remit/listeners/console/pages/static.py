"""What pages load: the style sheet, the icon, and htmx where it is installed."""

from __future__ import annotations

from importlib import resources

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from remit.listeners.console.pages.site import Console

_FILES = resources.files("remit.listeners.console").joinpath("static")
_STYLE = _FILES.joinpath("style.css").read_bytes()
_ICON = _FILES.joinpath("icon.svg").read_bytes()
_HEADERS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}


def routes(console: Console) -> list[BaseRoute]:
    """Theirs; they hold nothing that is anybody's."""

    async def style(request: Request) -> Response:
        return Response(_STYLE, media_type="text/css", headers=_HEADERS)

    async def icon(request: Request) -> Response:
        return Response(_ICON, media_type="image/svg+xml", headers=_HEADERS)

    async def script(request: Request) -> Response:
        if console.htmx is None:
            return PlainTextResponse("htmx is not installed\n", 404, headers=_HEADERS)
        return Response(console.htmx, media_type="text/javascript", headers=_HEADERS)

    return [Route("/static/style.css", style), Route("/static/icon.svg", icon), Route("/static/htmx.js", script)]
