"""The composition root: the only room that knows all others."""

from remit.app.sidecar import App

__all__ = ["App"]
