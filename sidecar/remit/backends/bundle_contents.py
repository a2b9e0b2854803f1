"""What a bundle says, once its signature was verified: its serial, the catalogue and the policies.

remit.yaml                the catalogue, or several files of one:
catalogue/NAME.yaml
policies/**/NAME.rego     the policies, and their settings:
policies/config.json
.manifest                 {"revision": "…", "roots": […], "metadata": {"remit": {"serial": N}}}
.signatures.json          see bundle_signature.py
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from remit.backends import bundle_signature
from remit.backends.bundle_archive import BundleRefused, pack, shown, unpack
from remit.backends.bundle_signature import MANIFEST, SIGNATURES, Key
from remit.core.canonical import MalformedJson, canonical, parse

MAX_SERIAL = 10**15
MAX_MANIFEST = 64 * 1024
ROOTS = ("remit/custom", "remit/views")
"""Where packages of users lie: what another OPA may load beside it."""

_REVISION = re.compile(r"[!-~]([ -~]{0,126}[!-~])?", re.ASCII)
_FILES = re.compile(
    r"remit\.yaml"
    r"|catalogue/[A-Za-z0-9_][A-Za-z0-9_.-]*\.ya?ml"
    r"|policies/([A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*\.rego"
    r"|policies/config\.json",
    re.ASCII,
)
LAYOUT = "remit.yaml or catalogue/*.yaml, policies/**/*.rego and policies/config.json"


@dataclass(frozen=True, slots=True)
class Signed:
    """A bundle whose signature was verified. `files` are catalogue and policies by their paths in it.

    `digest` is of all that was signed: whoever signs the same again, signs the same bundle.
    """

    serial: int
    revision: str
    digest: str
    files: Mapping[str, bytes] = field(repr=False)


def verify(packed: bytes, keys: Sequence[Key]) -> Signed:
    """The bundle in an archive. Every byte of what comes back is covered by a signature. Raises BundleRefused."""
    files = unpack(packed)
    signatures = files.pop(SIGNATURES, None)
    if signatures is None:
        raise BundleRefused(f"found no {SIGNATURES}, expected a signed bundle")
    bundle_signature.check(files, signatures, keys)
    manifest = files.pop(MANIFEST, None)
    if manifest is None:
        raise BundleRefused(f"found no {MANIFEST}, expected one with a serial")
    said = _manifest(manifest)
    check_layout(files)
    serial, revision = said
    return Signed(serial, revision, _digest({MANIFEST: canonical(parse(manifest, MAX_MANIFEST)), **files}), files)


def make(files: Mapping[str, bytes], *, serial: int, revision: str, key: Key) -> bytes:
    """The signed archive of a catalogue and policies. Raises BundleRefused where it could not be verified again."""
    check_layout(files)
    manifest = {"revision": revision, "roots": list(ROOTS), "metadata": {"remit": {"serial": serial}}}
    whole = {**files, MANIFEST: canonical(manifest)}
    _manifest(whole[MANIFEST])
    return pack({**whole, SIGNATURES: bundle_signature.sign(whole, key)})


def is_part(name: str) -> bool:
    """Whether a file of this path may be in a bundle, beside what makes it one."""
    return _FILES.fullmatch(name) is not None


def check_layout(files: Mapping[str, bytes]) -> None:
    """A catalogue in one place, and nothing that nobody would read. Raises BundleRefused."""
    for name in sorted(files):
        if not is_part(name):
            raise BundleRefused(f"{shown(name)}: not a part of a bundle; expected {LAYOUT}")
    several = [name for name in files if name.startswith("catalogue/")]
    if ("remit.yaml" in files) == bool(several):
        found = "both" if several else "neither"
        raise BundleRefused(f"the catalogue: found {found}, expected remit.yaml, or files below catalogue/")


def _manifest(raw: bytes) -> tuple[int, str]:
    expected = '{"revision": "…", "metadata": {"remit": {"serial": N}}}, N from 1 to 10^15'
    try:
        found: Any = parse(raw, MAX_MANIFEST)
    except MalformedJson as error:
        raise BundleRefused(f"{MANIFEST}: {error}") from error
    match found:
        case {"metadata": {"remit": {"serial": int(serial), **others}}} if not others and not isinstance(serial, bool):
            revision = found.get("revision", "")
            if (
                1 <= serial <= MAX_SERIAL
                and isinstance(revision, str)
                and (not revision or _REVISION.fullmatch(revision))
            ):
                return serial, revision
    raise BundleRefused(f"{MANIFEST}: expected {expected}")


def _digest(files: Mapping[str, bytes]) -> str:
    digest = sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{sha256(files[name]).hexdigest()}\n".encode())
    return digest.hexdigest()
