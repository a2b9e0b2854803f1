"""From files, environment and flags to one catalogue and one set of settings, or all that is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from remit.config.catalogue import read_catalogue
from remit.config.files import read_document
from remit.config.priced_kinds import PRICED_KINDS
from remit.config.problem import Place, Problems
from remit.config.reading import Cursor
from remit.config.settings import Settings, read_settings
from remit.config.tree import Entries
from remit.core.catalogue import Catalogue

Bundled = Callable[[Settings], tuple[Path, Path | None]]
"""Fetches the bundle that settings name: where its catalogue lies, and its policies (None: it has none)."""


def load(
    paths: Sequence[Path], environ: Mapping[str, str], flags: Mapping[str, object], bundled: Bundled | None = None
) -> tuple[Settings, Catalogue]:
    """Read the catalogue's files (or directories of them) and the settings. Raises CatalogueInvalid.

    Flags (named as in `settings.FLAGS`, None where not given) win over `REMIT_*` in `environ`, and these over
    the key `sidecar` of the files. Reads files, and knows nothing of a former load: call it again to reload.
    Where the settings name a bundle, `bundled` is asked for it, and may raise what it will; the files then have
    nothing but `sidecar`, and the bundle has all else.
    """
    problems = Problems()
    root = read_document(paths, problems)
    settings = read_settings(root, environ, flags)
    if settings.bundle is not None:
        _refuse_local(root, fetched=bundled is not None)
        problems.raise_any()
        assert bundled is not None
        return load_bundled(settings, bundled)
    catalogue = read_catalogue(root)
    problems.raise_any()
    return settings, _with_public_prices(catalogue)


def load_bundled(settings: Settings, bundled: Bundled) -> tuple[Settings, Catalogue]:
    """The settings with a bundle's policies, and its catalogue. Raises CatalogueInvalid, and what `bundled` does."""
    directory, policies = bundled(settings)
    problems = Problems()
    root = read_document([directory], problems)
    if isinstance(root.node, Entries) and "sidecar" in root.node.nodes:
        expected = "the settings of a sidecar in its own files: a bundle is for all of them"
        problems.add(root.node.keys["sidecar"], "sidecar", found="settings in a bundle", expected=expected)
    catalogue = read_catalogue(root)
    problems.raise_any()
    return replace(settings, policies=() if policies is None else (policies,)), _with_public_prices(catalogue)


def _refuse_local(root: Cursor, *, fetched: bool) -> None:
    if not fetched:
        expected = "a catalogue in files: bundles are fetched by `remit up` and `remit desk` alone"
        root.problems.add(Place("settings"), "sidecar.bundle", found="a catalogue in a bundle", expected=expected)
    for key, place in root.node.keys.items() if isinstance(root.node, Entries) else ():
        if key != "sidecar":
            expected = "only `sidecar` here: catalogue and policies are in the bundle (`sidecar.bundle`)"
            root.problems.add(place, key, found="a catalogue beside a bundle", expected=expected)


def _with_public_prices(catalogue: Catalogue) -> Catalogue:
    """The catalogue with the prices of its models. The table takes 16 MB, so it is read only where it is needed."""
    if not any(service.kind in PRICED_KINDS for service in catalogue.services.values()):
        return catalogue
    found: Catalogue = import_module("remit.config.price_table").with_table(catalogue)
    return found
