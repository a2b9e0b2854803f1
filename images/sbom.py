"""What is in an image, as CycloneDX 1.6 (ECMA-424): read from the image itself, with nothing but the standard library.

Python distributions with the hash of the wheel that each came from; OPA with the Go modules it was linked from; Envoy;
the console's script; Debian's packages. What Envoy was linked from is not told by its binary, and so not here.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email import message_from_string
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

Component = dict[str, Any]
License = dict[str, Any]

_GO_MARK = b"\xff Go buildinf:"
_GO_INLINE = 2  # the flag by which strings follow the header (debug/buildinfo of Go 1.18 and newer)
_GO_HEADER = 32
_GO_WRAP = 16  # bytes before and after the modules' text that mark where it is
_LICENSE = re.compile(r"^License :: (?:OSI Approved :: )?(.+)$")


def describe(home: Path, programs: Path, *, wheels: Path, version: str, epoch: int) -> dict[str, Any]:
    """The document. `home` is the virtual environment, `programs` where opa and envoy are."""
    components = [
        *python_components(home, wheels),
        *opa_components(programs / "opa"),
        envoy_component(programs / "envoy"),
        *(htmx_component(path) for path in sorted((home / "cache" / "remit").glob("htmx-*"))),
        *debian_components(Path("/")),
    ]
    components.sort(key=lambda each: str(each["bom-ref"]))
    names = "\n".join(f"{each['bom-ref']} {each.get('hashes')}" for each in components)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        # Of the content, so that the same image has the same number.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, names)}",
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "container", "name": "remit", "version": version, "bom-ref": "remit-image"},
        },
        "components": components,
    }


def python_components(home: Path, wheels: Path) -> Iterator[Component]:
    """What is installed in the virtual environment."""
    hashes = {_normal(path.name.split("-")[0]): _sha256(path) for path in wheels.glob("*.whl")}
    for place in sorted(home.glob("lib/python*/site-packages")):
        for each in distributions(path=[str(place)]):
            name = _normal(each.name)
            yield _component(
                f"pkg:pypi/{name}@{each.version}",
                name=each.name,
                version=each.version,
                digest=hashes.get(name, ""),
                licenses=_licenses(each),
            )


def opa_components(opa: Path) -> Iterator[Component]:
    """OPA, and the Go modules that its binary says it was linked from."""
    told = subprocess.run([str(opa), "version"], capture_output=True, text=True, check=True, env={}).stdout
    version = re.search(r"^Version: (\S+)$", told, re.MULTILINE)
    assert version, told
    purl = f"pkg:golang/github.com/open-policy-agent/opa@v{version[1]}"
    yield _component(
        purl,
        name="opa",
        version=version[1],
        kind="application",
        digest=_sha256(opa),
        licenses=[{"expression": "Apache-2.0"}],
    )
    for line in go_modules(opa.read_bytes()):
        kind, _, rest = line.partition("\t")
        if kind == "dep":
            module, release, *_ = rest.split("\t")
            yield _component(f"pkg:golang/{module}@{release}", name=module, version=release)


def envoy_component(envoy: Path) -> Component:
    """Envoy, as its binary says what it is."""
    told = subprocess.run([str(envoy), "--version"], capture_output=True, text=True, check=True, env={}).stdout
    version = re.search(r" version: (\w+)/([\d.]+)", told)
    assert version, told
    purl = f"pkg:github/envoyproxy/envoy@v{version[2]}"
    return _component(
        purl,
        name="envoy",
        version=version[2],
        kind="application",
        digest=_sha256(envoy),
        licenses=[{"expression": "Apache-2.0"}],
    )


def htmx_component(script: Path) -> Component:
    """The console's one script from elsewhere."""
    version = script.name.removeprefix("htmx-").removesuffix(".min.js")
    return _component(
        f"pkg:npm/htmx.org@{version}",
        name="htmx",
        version=version,
        digest=_sha256(script),
        licenses=[{"expression": "0BSD"}],
    )


def debian_components(root: Path) -> Iterator[Component]:
    """Installed Debian packages; distroless images list each in a file of its own."""
    dpkg = root / "var" / "lib" / "dpkg"
    files = [dpkg / "status", *sorted((dpkg / "status.d").glob("*"))]
    release = _os_release(root)
    for file in (each for each in files if each.is_file() and each.suffix != ".md5sums"):
        for paragraph in file.read_text(encoding="utf-8").split("\n\n"):
            fields = message_from_string(paragraph.strip())
            name, version = fields["Package"], fields["Version"]
            if name and version and fields.get("Status", "installed").endswith("installed"):
                rest = f"?arch={fields['Architecture']}&distro={release}"
                yield _component(
                    f"pkg:deb/debian/{name}@{version.replace(':', '%3A')}{rest}", name=name, version=version
                )


def go_modules(binary: bytes) -> list[str]:
    """The lines about modules in a Go program: path, mod, dep with version and hash. None where it is no Go program."""
    at = binary.find(_GO_MARK)
    if at < 0 or not binary[at + 15] & _GO_INLINE:
        return []
    at += _GO_HEADER
    for _ in range(2):  # the version of Go, then the modules
        size, at = _varint(binary, at)
        text, at = binary[at : at + size], at + size
    return text[_GO_WRAP:-_GO_WRAP].decode(errors="replace").splitlines()


def _varint(binary: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = binary[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _component(
    purl: str,
    *,
    name: str,
    version: str,
    kind: str = "library",
    digest: str = "",
    licenses: Sequence[License] = (),
) -> Component:
    component: Component = {"type": kind, "bom-ref": purl, "purl": purl, "name": name, "version": version}
    if digest:
        component["hashes"] = [{"alg": "SHA-256", "content": digest}]
    if licenses:
        component["licenses"] = [*licenses]
    return component


def _licenses(each: Distribution) -> list[License]:
    """What a distribution says of its licence: the SPDX expression, else classifiers, else a short name."""
    metadata = each.metadata
    if expression := metadata.get("License-Expression"):
        return [{"expression": expression}]
    classified = [found[1] for line in metadata.get_all("Classifier") or () if (found := _LICENSE.match(line))]
    named = (metadata.get("License") or "").strip()
    names = classified or ([named] if named and len(named) < 60 and "\n" not in named else [])
    return [{"license": {"name": name}} for name in names]


def _os_release(root: Path) -> str:
    file = root / "etc" / "os-release"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
    return f"{fields.get('ID', 'debian')}-{fields.get('VERSION_ID', 'unknown')}"


def _normal(name: str) -> str:
    """As PEP 503 spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
