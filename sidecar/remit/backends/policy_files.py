"""From a catalogue and policy directories to a tested bundle with its message templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from remit.backends.opa_bundle import Bundle, BundleInvalid, Sources, build, library_path, run_tests
from remit.backends.opa_sources import read_config, read_messages
from remit.core.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Policy:
    """A bundle whose users' tests have passed; `messages` are (policy, code) -> template."""

    bundle: Bundle
    messages: Mapping[tuple[str, str], str]


def sources(catalogue: Catalogue, policies: tuple[Path, ...]) -> Sources:
    """What the bundle is made of. Raises BundleInvalid."""
    library = library_path()
    return Sources(library, policies, read_config(policies, library), catalogue.document())


def prepare(catalogue: Catalogue, policies: tuple[Path, ...], *, opa: Path, directory: Path) -> Policy:
    """Build and test; takes part of a second, so off the event loop. Raises BundleInvalid."""
    made = sources(catalogue, policies)
    bundle = build(made, opa, directory)
    # The library's own tests judge it as delivered, and ran before it was.
    failed = run_tests(made, opa) if policies else ()
    if failed:
        raise BundleInvalid(failed)
    return Policy(bundle, read_messages(bundle, opa))
