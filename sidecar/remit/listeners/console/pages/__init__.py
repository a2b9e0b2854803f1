"""The pages of the console: what people see of an installation, rendered here, with a little htmx for what is live."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from remit.listeners.console.pages import approvals, budgets, decisions, halts, home, open_ends, static, workflows
from remit.listeners.console.pages.site import Console as Console
from remit.listeners.console.pages.site import guarded


def routes(console: Console) -> list[BaseRoute]:
    """All of them. Each request has `state.person` (a Subject or None) and `state.csrf` (the text for forms)."""
    pages = [
        Route("/", guarded(console, home.show)),
        Route("/approvals", guarded(console, approvals.show_all)),
        Route("/approvals/live", guarded(console, approvals.live)),
        Route("/approvals/{id}", guarded(console, approvals.show)),
        Route("/approvals/{id}", guarded(console, approvals.resolve), methods=["POST"]),
        Route("/approvals/{id}/changed", guarded(console, approvals.changed)),
        Route("/budgets", guarded(console, budgets.show_all)),
        Route("/budget", guarded(console, budgets.show)),
        Route("/workflows", guarded(console, workflows.show_all)),
        Route("/workflows/{id}", guarded(console, workflows.show)),
        Route("/workflows/{id}/live", guarded(console, workflows.live)),
        Route("/decisions", guarded(console, decisions.show_all)),
        Route("/decisions/{id}", guarded(console, decisions.show)),
        Route("/open-ends", guarded(console, open_ends.show)),
        Route("/halts", guarded(console, halts.show)),
        Route("/halts", guarded(console, halts.halt), methods=["POST"]),
        Route("/halts/resume", guarded(console, halts.resume), methods=["POST"]),
    ]
    return [*pages, *static.routes(console)]
