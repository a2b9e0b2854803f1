"""`remit bundle`: catalogue and policies as one signed archive, which sidecars fetch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import click

from remit.backends.bundle_archive import MAX_PACKED, BundleRefused
from remit.backends.bundle_contents import LAYOUT, MAX_SERIAL, Signed, is_part, make, verify
from remit.backends.bundle_signature import KeyUnusable, private_key, public_keys
from remit.cli.failure import Failure, Refused
from remit.cli.screen import emit, note, show
from remit.cli.text import clean, counted
from remit.config.loading import load_bundled
from remit.config.problem import CatalogueInvalid
from remit.config.settings import Settings

FILE = click.Path(path_type=Path, dir_okay=False)
MAX_KEY = 64 * 1024


@click.group("bundle")
def command() -> None:
    """Sign catalogue and policies for all sidecars; verify what was signed."""


@command.command("build")
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=FILE, required=True, help="Where the bundle is written.")
@click.option("--key", type=FILE, required=True, help="Private key (PEM: Ed25519, ECDSA P-256 or RSA).")
@click.option("--serial", type=click.IntRange(1, MAX_SERIAL), required=True, help="Higher than that of any before.")
@click.option("--revision", default="", help="What people call it, such as a commit.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def build(directory: Path, out: Path, key: Path, serial: int, revision: str, as_json: bool) -> None:
    """Sign what is in DIRECTORY: remit.yaml or catalogue/*.yaml, policies/**/*.rego and policies/config.json.

    The same files, serial and revision give the same bytes (with ECDSA: the same but for the signature). Check the
    policies with `remit check` first: here only the catalogue is.

    Example: remit bundle build governance --out bundle.tar.gz --key bundle.key --serial 42
    """
    files = _files(directory)
    _check_catalogue(directory)
    try:
        signer = private_key(_read(key, MAX_KEY))
    except KeyUnusable as error:
        raise Failure(f"{key}: {error}") from error
    try:
        packed = make(files, serial=serial, revision=revision, key=signer)
    except BundleRefused as error:
        raise Failure(f"{directory}: {error}") from error
    if len(packed) > MAX_PACKED:
        raise Failure(f"{directory}: the bundle has {len(packed)} bytes, expected at most {MAX_PACKED}")
    try:
        out.write_bytes(packed)
    except OSError as error:
        _unreadable(out, error)
    _tell(verify(packed, [signer]), as_json=as_json)


@command.command("verify")
@click.argument("file", type=FILE)
@click.option("--key", type=FILE, required=True, help="Public keys (PEM), as sidecars have them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify_file(file: Path, key: Path, as_json: bool) -> None:
    """Whether sidecars would take FILE, but for serials that they have seen. Exit code 1: they would not.

    Example: remit bundle verify bundle.tar.gz --key bundle.pub
    """
    try:
        keys = public_keys(_read(key, MAX_KEY))
    except KeyUnusable as error:
        raise Failure(f"{key}: {error}") from error
    try:
        signed = verify(_read(file, MAX_PACKED), keys)
    except BundleRefused as error:
        raise Refused(f"{file}: {error}") from error
    _tell(signed, as_json=as_json)


def _tell(signed: Signed, *, as_json: bool) -> None:
    if as_json:
        emit(
            {
                "serial": signed.serial,
                "revision": signed.revision,
                "digest": signed.digest,
                "files": sorted(signed.files),
            }
        )
        return
    revision = f", revision {clean(signed.revision)}" if signed.revision else ""
    show(f"serial {signed.serial}{revision}, {counted(len(signed.files), 'file')}, digest {signed.digest}")


def _files(directory: Path) -> Mapping[str, bytes]:
    """What of a directory belongs into a bundle. Raises Failure."""
    files = {}
    for path in _below(directory):
        name = path.relative_to(directory).as_posix()
        if not is_part(name):
            note(f"remit: left out: {clean(name)} (a bundle has {LAYOUT})")
        elif path.is_symlink():
            raise Failure(f"{path}: found a link, expected a file")
        else:
            files[name] = _read(path, MAX_PACKED)
    return files


def _below(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
        if not hidden and not path.is_dir():
            yield path


def _check_catalogue(directory: Path) -> None:
    single = directory / "remit.yaml"
    catalogue = single if single.exists() else directory / "catalogue"
    try:
        load_bundled(Settings(), lambda settings: (catalogue, None))
    except CatalogueInvalid as error:
        raise Failure(*str(error).splitlines()) from error


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            found = file.read(most + 1)
    except OSError as error:
        _unreadable(path, error)
    if len(found) > most:
        raise Failure(f"{path}: found more than {most} bytes, expected at most as many")
    return found


def _unreadable(path: Path, error: OSError) -> NoReturn:
    raise Failure(f"{path}: {error.strerror or error}") from error
