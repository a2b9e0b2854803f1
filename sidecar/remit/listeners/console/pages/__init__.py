"""The pages of the console: what people see of an installation, rendered here, with a little htmx for what is live."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from remit.listeners.console.pages import budgets, decisions, halts, home, static, workflows
from remit.listeners.console.pages.site import Console as Console
from remit.listeners.console.pages.site import guarded


def routes(console: Console) -> list[BaseRoute]:
    """All of them. Each request has `state.person` (a Subject or None) and `state.csrf` (the text for forms)."""
    pages = [
        Route("/", guarded(console, home.show)),
        Route("/budgets", guarded(console, budgets.show_all)),
        Route("/budget", guarded(console, budgets.show)),
        Route("/workflows", guarded(console, workflows.show_all)),
        Route("/workflows/{id}", guarded(console, workflows.show)),
        Route("/workflows/{id}/live", guarded(console, workflows.live)),
        Route("/decisions", guarded(console, decisions.show_all)),
        Route("/decisions/{id}", guarded(console, decisions.show)),
        Route("/halts", guarded(console, halts.show)),
        Route("/halts", guarded(console, halts.halt), methods=["POST"]),
        Route("/halts/resume", guarded(console, halts.resume), methods=["POST"]),
    ]
    return [*pages, *static.routes(console)]
