"""Official clients, imported by the first who plays one: all workers collect all tests, and these are large."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import anthropic as anthropic
    import openai as openai
else:

    class _Late:
        """A package that is imported when something of it is wanted."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self._name), name)

    anthropic, openai = _Late("anthropic"), _Late("openai")
