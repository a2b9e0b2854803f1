"""What somebody meant who misspelt a name."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches


def meant(found: str, words: Collection[str]) -> str:
    """The end of a message about a name that is none of these: ": did you mean X?", or which ones there are."""
    nearest = get_close_matches(found, sorted(words), n=1)
    return f": did you mean {nearest[0]}?" if nearest else f", expected one of {', '.join(sorted(words))}"
