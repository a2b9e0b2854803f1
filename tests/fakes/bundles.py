"""Bundles as somebody makes them who knows the format by heart: sound ones, and every forgery of one.

An attack is a name and the bytes; all of them must be refused with the key that signed the sound one. Nothing here
uses the code that they are tried on.
"""

from __future__ import annotations

import base64
import gzip
import hmac
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import md5, sha256
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
CATALOGUE = b"currency: EUR\nteams: {cx: {}}\n"
RULE = b"package remit.custom.own.rule\n\nimport rego.v1\n\ndeny contains {} if false\n"
FILES: Mapping[str, bytes] = {
    "remit.yaml": CATALOGUE,
    "policies/own/rule.rego": RULE,
    "policies/config.json": b'{"rules":{}}',
}
SIGNER = ed25519.Ed25519PrivateKey.from_private_bytes(sha256(b"who signs bundles").digest())
OTHER = ed25519.Ed25519PrivateKey.from_private_bytes(sha256(b"somebody else").digest())


def public_pem(key: Private = SIGNER) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: Private = SIGNER) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def signature(key: Private, text: bytes) -> bytes:
    """As JWS has it."""
    match key:
        case ed25519.Ed25519PrivateKey():
            return key.sign(text)
        case rsa.RSAPrivateKey():
            return key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _algorithm(key: Private) -> str:
    match key:
        case ed25519.Ed25519PrivateKey():
            return "EdDSA"
        case rsa.RSAPrivateKey():
            return "RS256"
    return "ES256"


Listing = list[dict[str, Any]]


@dataclass
class Making:
    """How a bundle is made; an attack changes one thing."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    manifest: Any = None
    serial: Any = 7
    key: Private = field(default_factory=lambda: SIGNER)
    header: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    unlisted: dict[str, bytes] = field(default_factory=dict)
    listing: Callable[[Listing], Listing] = lambda listed: listed
    sign: Callable[[bytes], bytes] | None = None
    after: dict[str, bytes] = field(default_factory=dict)
    signatures: Callable[[str], Any] = lambda token: {"signatures": [token]}
    entries: list[tuple[tarfile.TarInfo, bytes]] = field(default_factory=list)

    def packed(self) -> bytes:
        """The archive."""
        manifest = self.manifest or {"revision": "r7", "metadata": {"remit": {"serial": self.serial}}}
        whole = {**self.files, ".manifest": manifest if isinstance(manifest, bytes) else _json(manifest)}
        listed = self.listing(
            [
                {"name": name, "hash": sha256(content).hexdigest(), "algorithm": "SHA-256"}
                for name, content in whole.items()
            ]
        )
        head = _b64(_json({"alg": _algorithm(self.key), **self.header}))
        text = f"{head}.{_b64(_json({'files': listed, **self.claims}))}".encode()
        made = (self.sign or (lambda each: signature(self.key, each)))(text)
        signed = {".signatures.json": _json(self.signatures(f"{text.decode()}.{_b64(made)}"))}
        return archive({**whole, **self.unlisted, **signed, **self.after}, self.entries)


def archive(files: Mapping[str, bytes], more: list[tuple[tarfile.TarInfo, bytes]] | None = None) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for entry, content in more or []:
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), 1, mtime=0)


def sound(serial: int = 7, *, key: Private = SIGNER, **files: bytes) -> bytes:
    """A bundle that is as it must be."""
    return Making(serial=serial, key=key, files={**FILES, **files}).packed()


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, len(content)
    return made, content


def attacks() -> Iterator[tuple[str, bytes]]:
    """Every forgery, with its name."""
    yield from _signatures()
    yield from _coverage()
    yield from _archives()
    yield from _manifests()


def _signatures() -> Iterator[tuple[str, bytes]]:
    public = public_pem()
    raw = SIGNER.public_key().public_bytes_raw()
    yield "another key", Making(key=OTHER).packed()
    yield "no algorithm, no signature", Making(header={"alg": "none"}, sign=lambda text: b"").packed()
    yield "no algorithm, a signature", Making(header={"alg": "none"}).packed()
    for name, secret in (("PEM", public), ("stripped PEM", public.strip()), ("raw", raw)):
        for alg, how in (("HS256", "sha256"), ("HS512", "sha512")):
            forged = Making(header={"alg": alg}, sign=lambda text, s=secret, h=how: hmac.digest(s, text, h))  # type: ignore[misc]
            yield f"{alg} with the public key ({name}) as a secret", forged.packed()
    yield "another algorithm's name", Making(header={"alg": "ES256"}).packed()
    yield "an algorithm in lower case", Making(header={"alg": "eddsa"}).packed()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": _b64(OTHER.public_key().public_bytes_raw())}
    yield "a key of its own in the header", Making(key=OTHER, header={"jwk": jwk}).packed()
    yield "a key of its own by kid", Making(key=OTHER, header={"kid": "default"}).packed()
    yield "a key of its own by URL", Making(header={"jku": "https://example.com/keys"}).packed()
    yield "a critical extension", Making(header={"crit": ["exp"], "exp": 1}).packed()
    yield "an unencoded payload", Making(header={"crit": ["b64"], "b64": False}).packed()
    yield "an empty signature", Making(sign=lambda text: b"").packed()
    yield "a signature of zeros", Making(sign=lambda text: bytes(64)).packed()
    yield "a signature of other text", Making(sign=lambda text: SIGNER.sign(text + b" ")).packed()
    yield (
        "two signatures, the second sound",
        Making(signatures=lambda token: {"signatures": [token[:-8], token]}).packed(),
    )
    yield (
        "two signatures, the first sound",
        Making(signatures=lambda token: {"signatures": [token, token[:-8]]}).packed(),
    )
    yield "no signature", Making(signatures=lambda token: {"signatures": []}).packed()
    yield "signatures that are none", Making(signatures=lambda token: {"signatures": [7]}).packed()
    yield "signatures that are no object", Making(signatures=lambda token: [token]).packed()
    yield "signatures that are no JSON", Making(after={".signatures.json": b"{"}).packed()
    yield "no signatures at all", archive({**FILES, ".manifest": b'{"metadata":{"remit":{"serial":7}}}'})
    yield "a claim nobody knows", Making(claims={"exp": 1}).packed()
    yield "a scope", Making(claims={"scope": "other"}).packed()
    yield "a payload that is no object", Making(sign=None, claims={"files": "all"}).packed()


def _coverage() -> Iterator[tuple[str, bytes]]:
    for name in (*FILES, ".manifest"):
        changed = FILES.get(name, b'{"metadata":{"remit":{"serial":7}},"revision":"r7"}').replace(b"r", b"s", 1)
        yield f"{name} is another than was signed", Making(after={name: changed}).packed()
        yield f"{name} has a byte more", Making(after={name: FILES.get(name, b"") + b"\n "}).packed()
        yield (
            f"{name} was not signed",
            Making(listing=lambda listed, n=name: [e for e in listed if e["name"] != n]).packed(),
        )  # type: ignore[misc]
    yield (
        "the manifest has another serial",
        Making(after={".manifest": _json({"metadata": {"remit": {"serial": 8}}})}).packed(),
    )
    yield "a policy more", Making(unlisted={"policies/own/other.rego": RULE}).packed()
    yield (
        "a configuration more",
        Making(files={"remit.yaml": CATALOGUE}, unlisted={"policies/config.json": b'{"rules":{}}'}).packed(),
    )
    yield (
        "a test less",
        Making(listing=lambda listed: [*listed, {**listed[0], "name": "policies/own/t_test.rego"}]).packed(),
    )
    yield "a file that is listed twice", Making(listing=lambda listed: [*listed, listed[0]]).packed()
    yield (
        "a file that is listed with two hashes",
        Making(listing=lambda listed: [{**listed[0], "hash": "0" * 64}, *listed]).packed(),
    )
    weak = [{"name": "remit.yaml", "hash": md5(CATALOGUE).hexdigest(), "algorithm": "MD5"}]
    yield "a weak hash", Making(listing=lambda listed: [*weak, *listed[1:]]).packed()
    yield (
        "a hash without its algorithm",
        Making(listing=lambda listed: [{**listed[0], "algorithm": ""}, *listed[1:]]).packed(),
    )
    yield (
        "a hash cut short",
        Making(listing=lambda listed: [{**listed[0], "hash": listed[0]["hash"][:8]}, *listed[1:]]).packed(),
    )
    yield "nothing listed", Making(listing=lambda listed: []).packed()
    yield "a data file that OPA hashes by what it says", Making(files={**FILES, "policies/data.json": b"{}"}).packed()
    yield "a file that nobody reads", Making(files={**FILES, "README.md": b"hello"}).packed()


def _archives() -> Iterator[tuple[str, bytes]]:
    good = sound()
    for share in (1, 10, 50, 90, 99):
        yield f"cut at {share} of 100", good[: len(good) * share // 100]
    yield "the last byte is missing", good[:-1]
    yield "something follows", good + b"x"
    yield "another archive follows", good + good
    yield "nothing", b""
    yield "a page of HTML", b"<!doctype html><title>502 Bad Gateway</title>"
    yield "a page of HTML, compressed", gzip.compress(b"<!doctype html><title>502 Bad Gateway</title>" * 50)
    yield "no compression", gzip.decompress(good)
    yield "compressed twice", gzip.compress(good)
    yield "a bomb", gzip.compress(bytes(64 << 20), 9)
    yield "a bomb in a file", Making(unlisted={"policies/big.rego": bytes(30 << 20)}).packed()
    yield "too many files", Making(unlisted={f"policies/{n}.rego": b"" for n in range(2_500)}).packed()
    yield "more bytes than a bundle has", good + bytes(9 << 20)
    yield "the catalogue twice", Making(entries=[entry("remit.yaml", content=b"currency: USD\n")]).packed()
    yield (
        "the catalogue twice, by another spelling",
        Making(entries=[entry("./remit.yaml", content=b"x: 1\n")]).packed(),
    )
    yield "the catalogue twice, as absolute", Making(entries=[entry("/remit.yaml", content=b"x: 1\n")]).packed()
    for name in (
        "../remit.yaml",
        "policies/../../x.rego",
        "//etc/x",
        "/../x",
        "policies//x.rego",
        "./../x",
        "a\\b",
        "policies/./x.rego",
    ):
        yield f"the path {name}", Making(entries=[entry(name, content=b"x")]).packed()
        yield f"the path {name}, signed", Making(files={**FILES, name: b"x"}).packed()
    for name, kind in (("symbolic", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
        for target in ("/etc/passwd", "../../keys/context.key", "policies/config.json"):
            yield f"a {name} link to {target}", Making(entries=[entry("policies/x.rego", kind, target)]).packed()
    for name, kind in (
        ("device", tarfile.CHRTYPE),
        ("pipe", tarfile.FIFOTYPE),
        ("sparse file", tarfile.GNUTYPE_SPARSE),
    ):
        yield f"a {name}", Making(entries=[entry("policies/x.rego", kind)]).packed()
    negative = bytearray(gzip.decompress(good))
    negative[124:136] = b"\xff" * 12
    yield "a size below zero", gzip.compress(bytes(negative))
    for name, kind in (
        ("POSIX", tarfile.XHDTYPE),
        ("global", tarfile.XGLTYPE),
        ("GNU", tarfile.GNUTYPE_LONGNAME),
    ):
        # Each would be read by a call within the call that read the one before it.
        yield (
            f"{name} headers that extend each other without end",
            gzip.compress(_extending(kind, b"9 p=abcd\n") * 5000),
        )
    words = b"".join(b"13 %06d=abc\n" % number for number in range(500_000))
    yield "a header of half a million words", gzip.compress(_extending(tarfile.XHDTYPE, words))


def _extending(kind: bytes, words: bytes) -> bytes:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, len(words)
    return header.tobuf(tarfile.USTAR_FORMAT) + words + bytes(-len(words) % 512)


def _manifests() -> Iterator[tuple[str, bytes]]:
    for serial in (0, -1, 10**15 + 1, True, "7", 7.5, None):
        yield f"the serial {serial!r}", Making(serial=serial).packed()
    yield "no serial", Making(manifest={"revision": "r"}).packed()
    yield "a manifest that is no object", Making(manifest=b"[]").packed()
    yield (
        "a serial that is said twice",
        Making(manifest=b'{"metadata":{"remit":{"serial":7}},"metadata":{"remit":{"serial":9}}}').packed(),
    )
    yield (
        "a revision on two lines",
        Making(manifest={"revision": "a\nb", "metadata": {"remit": {"serial": 7}}}).packed(),
    )
    yield "no catalogue", Making(files={"policies/own/rule.rego": RULE}).packed()
    yield "two catalogues", Making(files={**FILES, "catalogue/more.yaml": b"teams: {}\n"}).packed()
