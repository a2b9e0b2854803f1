"""An e-mail API: `POST /messages`, a price for each. What it was handed, it has: /inbox shows it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from remit.demo.upstream.books import EUR, Books

PRICE = EUR * 2 // 1000
"""EUR 0.002 a message."""


def application(books: Books) -> web.Application:
    """The API with its books at /books and what it received at /inbox."""
    inbox: list[dict[str, str]] = []

    async def accept(request: web.Request) -> web.Response:
        books.admit(request)
        inbox.append(_read(await request.json()))
        await books.charge(request, "", {"call": 1}, PRICE)
        return web.json_response({"id": f"m-{len(inbox)}"}, status=202)

    async def shown(request: web.Request) -> web.Response:
        return web.json_response(inbox)

    app = web.Application()
    app.router.add_post("/messages", accept)
    app.router.add_get("/inbox", shown)
    app.router.add_get("/books", books.shown)
    return app


def _read(body: Any) -> dict[str, str]:
    try:
        return {field: str(body[field]) for field in ("to", "subject", "text")}
    except (KeyError, TypeError) as error:
        raise web.HTTPBadRequest(text="expected: to, subject and text") from error
