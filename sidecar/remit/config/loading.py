"""From files, environment and flags to one catalogue and one set of settings, or all that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from remit.config.catalogue import read_catalogue
from remit.config.files import read_document
from remit.config.priced_kinds import PRICED_KINDS
from remit.config.problem import Problems
from remit.config.settings import Settings, read_settings
from remit.core.catalogue import Catalogue


def load(paths: Sequence[Path], environ: Mapping[str, str], flags: Mapping[str, object]) -> tuple[Settings, Catalogue]:
    """Read the catalogue's files (or directories of them) and the settings. Raises CatalogueInvalid.

    Flags (named as in `settings.FLAGS`, None where not given) win over `REMIT_*` in `environ`, and these over
    the key `sidecar` of the files. Reads files, and knows nothing of a former load: call it again to reload.
    """
    problems = Problems()
    root = read_document(paths, problems)
    settings = read_settings(root, environ, flags)
    catalogue = read_catalogue(root)
    problems.raise_any()
    return settings, _with_public_prices(catalogue)


def _with_public_prices(catalogue: Catalogue) -> Catalogue:
    """The catalogue with the prices of its models. The table takes 16 MB, so it is read only where it is needed."""
    if not any(service.kind in PRICED_KINDS for service in catalogue.services.values()):
        return catalogue
    found: Catalogue = import_module("remit.config.price_table").with_table(catalogue)
    return found
