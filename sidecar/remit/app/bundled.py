"""Where catalogue and policies may come from, besides files: a signed bundle, which a member takes, tries, accepts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from remit.backends.bundle_remote import Guard
from remit.config import Settings
from remit.core.catalogue import Catalogue


class Bundled(Protocol):
    """What was loaded last, as far as it is a bundle. All of it blocks."""

    @property
    def fetched(self) -> bool:
        """Whether it is one."""
        ...

    @property
    def behind(self) -> bool:
        """Whether it is an older one, because the newest could not be had or used."""
        ...

    def accept(self, guard: Guard | None) -> Mapping[str, object]:
        """It is about to be in force: what the journal says of it, nothing where it is none.

        Raises BundleRefused where something newer was in force before, what `guard` raises, and OSError.
        """
        ...

    def retreat(self) -> tuple[Settings, Catalogue] | None:
        """The bundle before it, in place of one that cannot be used; None where there is none.

        Raises CatalogueInvalid, BundleRefused, KeyUnusable, OSError.
        """
        ...


class FilesAlone:
    """No bundle."""

    fetched = behind = False

    def accept(self, guard: Guard | None) -> Mapping[str, object]:
        """Files are the operator's own: nothing is asked of them."""
        return {}

    def retreat(self) -> tuple[Settings, Catalogue] | None:
        """What was in the files before is not known."""
        return None
