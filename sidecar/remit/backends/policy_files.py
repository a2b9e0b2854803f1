"""From a catalogue and policy directories to a tested bundle with its message templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from remit.backends.opa_bundle import Bundle, BundleInvalid, Sources, build, library_path, run_tests
from remit.backends.opa_sources import Stated, read_messages, read_stated
from remit.backends.policy_tree import files_below, of_one_moment
from remit.core.catalogue import Catalogue
from remit.core.failing import DEFAULT, FailurePolicy

T = TypeVar("T")

SUFFIXES = (".rego", ".json")
"""Of what is read in a policy directory."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A bundle whose users' tests have passed; `messages` are (policy, code) -> template, `failure` what is done when
    agents fail."""

    bundle: Bundle
    messages: Mapping[tuple[str, str], str]
    failure: FailurePolicy = DEFAULT


def policy_files(root: Path) -> list[Path]:
    """What is read of a policy directory (or is the one file of it). Raises OSError."""
    return files_below(root, SUFFIXES) if root.is_dir() else [root]


def sources(catalogue: Catalogue, policies: tuple[Path, ...]) -> Sources:
    """What the bundle is made of. Raises BundleInvalid."""
    return _sources(catalogue, policies, read_stated(policies, library_path()))


def prepare(catalogue: Catalogue, policies: tuple[Path, ...], *, opa: Path, directory: Path) -> Policy:
    """Build and test, of files of one moment; takes part of a second, so off the event loop. Raises BundleInvalid."""
    return at_one_moment(policies, lambda: _prepared(catalogue, policies, opa, directory))


def at_one_moment(policies: Sequence[Path], read: Callable[[], T]) -> T:
    """What `read` makes of these directories, while none of them changed. Raises what it raises, and BundleInvalid."""
    return of_one_moment(policies, SUFFIXES, read)


def _prepared(catalogue: Catalogue, policies: tuple[Path, ...], opa: Path, directory: Path) -> Policy:
    stated = read_stated(policies, library_path())
    made = _sources(catalogue, policies, stated)
    bundle = build(made, opa, directory)
    # The library's own tests judge it as delivered, and ran before it was.
    failed = run_tests(made, opa) if policies else ()
    if failed:
        raise BundleInvalid(failed)
    return Policy(bundle, read_messages(bundle, opa), stated.failures)


def _sources(catalogue: Catalogue, policies: tuple[Path, ...], stated: Stated) -> Sources:
    return Sources(library_path(), policies, stated.config, catalogue.document(), stated.failure)
