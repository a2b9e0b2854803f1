"""The sidecar's own settings: flags before `REMIT_*` in the environment before `sidecar:` in `remit.yaml`."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from remit.config.problem import Place
from remit.config.reading import Cursor, Reader, Section, Wrong, items, section, text, truth, whole
from remit.config.tree import Entries, Items, Leaf, Node, plain
from remit.config.values import address, path

ENVIRONMENT = "environment"
COMMAND_LINE = "command line"
MAX_SOCKET_BYTES = 107  # sun_path of a Unix socket address, without its NUL

T = TypeVar("T")

_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253}):[0-9]{1,5}", re.ASCII)
_LISTEN_EXPECTED = "HOST:PORT such as 127.0.0.1:7450"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener listens; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine (or pod) can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class OpaSettings:
    """An OPA that runs already (`url` or `socket`), or the binary to run; with none, one is looked for.

    `timeout_ms` bounds one query, `batch` the requests that share one.
    """

    url: str = ""
    socket: Path | None = None
    binary: Path | None = None
    timeout_ms: int = 1000
    batch: int = 32


@dataclass(frozen=True, slots=True)
class EgressSettings:
    """Where agents' calls leave: `on` runs an Envoy (the binary to run; with none, one is looked for).

    `http` takes http://ADDRESS/SERVICE/…, `proxy` is the forward proxy. `access_log` writes one line a request.
    With `tls` both speak TLS alone, with the sidecar's certificate; agents may then prove themselves by theirs.
    """

    on: bool = False
    http: Address = Address("127.0.0.1", 7452)
    proxy: Address | None = Address("127.0.0.1", 7453)
    binary: Path | None = None
    access_log: bool = False
    tls: bool = False


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Files in PEM; with `client_ca`, clients may prove themselves by a certificate that it signed."""

    cert: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller may ask of the sidecar: bytes of a message and its metadata, calls at once, seconds."""

    message_bytes: int = 512 * 1024  # arguments alone may have 256 KiB
    metadata_bytes: int = 8 * 1024
    concurrency: int = 1024
    call_seconds: int = 30
    drain_seconds: int = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """How one sidecar runs. A listener that is None is off; `policies` are users' own policy directories."""

    state: Path = Path(".remit")
    socket: Path | None = Path(".remit-run/remit.sock")
    grpc: Address | None = Address("127.0.0.1", 7450)
    http: Address | None = Address("127.0.0.1", 7451)
    ops: Address | None = None
    egress: EgressSettings = field(default_factory=EgressSettings)
    opa: OpaSettings = field(default_factory=OpaSettings)
    tls: TlsSettings | None = None
    limits: Limits = field(default_factory=Limits)
    policies: tuple[Path, ...] = ()
    watch: bool = True


VARIABLES: Mapping[str, str] = {
    "state": "REMIT_STATE",
    "socket": "REMIT_SOCKET",
    "grpc": "REMIT_GRPC",
    "http": "REMIT_HTTP",
    "ops": "REMIT_OPS",
    "egress.on": "REMIT_EGRESS_ON",
    "egress.http": "REMIT_EGRESS_HTTP",
    "egress.proxy": "REMIT_EGRESS_PROXY",
    "egress.binary": "REMIT_ENVOY_BIN",
    "egress.access_log": "REMIT_EGRESS_ACCESS_LOG",
    "egress.tls": "REMIT_EGRESS_TLS",
    "opa.url": "REMIT_OPA_URL",
    "opa.socket": "REMIT_OPA_SOCKET",
    "opa.binary": "REMIT_OPA_BIN",
    "opa.timeout_ms": "REMIT_OPA_TIMEOUT_MS",
    "opa.batch": "REMIT_OPA_BATCH",
    "tls.cert": "REMIT_TLS_CERT",
    "tls.key": "REMIT_TLS_KEY",
    "tls.client_ca": "REMIT_TLS_CLIENT_CA",
    "limits.message_bytes": "REMIT_LIMITS_MESSAGE_BYTES",
    "limits.metadata_bytes": "REMIT_LIMITS_METADATA_BYTES",
    "limits.concurrency": "REMIT_LIMITS_CONCURRENCY",
    "limits.call_seconds": "REMIT_LIMITS_CALL_SECONDS",
    "limits.drain_seconds": "REMIT_LIMITS_DRAIN_SECONDS",
    "policies": "REMIT_POLICIES",
    "watch": "REMIT_WATCH",
}
"""Each setting's key in `sidecar:` and its environment variable. A flag is the key with `_` for `.`."""

FLAGS: Mapping[str, str] = {key.replace(".", "_"): key for key in VARIABLES}
"""Each flag's name in the mapping of flags, and its key."""


DEFAULTS = Settings()

_NUMBERS_AND_TRUTHS = {key for key in VARIABLES if key.startswith("limits.")} | {
    "opa.timeout_ms",
    "opa.batch",
    "egress.on",
    "egress.access_log",
    "egress.tls",
    "watch",
}
_ALTERNATIVES = ("opa.url", "opa.socket")


def read_settings(root: Cursor, environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """The settings; mistakes go to the root's problems, and where there are any the result is not to be used.

    A flag of None was not given; an empty variable counts as not set.
    """
    tree = _written(root)
    tree = _overlaid(tree, _from_environment(environ))
    tree = _overlaid(tree, _from_flags(flags))
    try:
        return section(_settings)(Cursor(tree, "sidecar", root.problems))
    except Wrong:
        return DEFAULTS


def _written(root: Cursor) -> Node:
    written = root.node.nodes.get("sidecar") if isinstance(root.node, Entries) else None
    return written or Entries(root.node.place, {})


def _from_environment(environ: Mapping[str, str]) -> dict[str, Node]:
    set_ones = {key: name for key, name in VARIABLES.items() if environ.get(name)}
    return {key: _node(Place(f"{ENVIRONMENT}: {name}"), key, environ[name]) for key, name in set_ones.items()}


def _from_flags(flags: Mapping[str, object]) -> dict[str, Node]:
    given = {flag: value for flag, value in flags.items() if value is not None}
    return {
        FLAGS.get(flag, flag): _node(Place(f"{COMMAND_LINE}: --{flag.replace('_', '-')}"), FLAGS.get(flag, flag), value)
        for flag, value in given.items()
    }


def _node(place: Place, key: str, value: object) -> Node:
    """A flag's or variable's value as if it had been written in the document."""
    if key == "policies":
        parts = value.split(os.pathsep) if isinstance(value, str) else value
        listed = [str(part) for part in parts if str(part)] if isinstance(parts, Iterable) else []
        return Items(place, tuple(Leaf(place, part, part) for part in listed))
    written = str(value).lower() if isinstance(value, bool) else str(value)
    return Leaf(place, plain(written) if key in _NUMBERS_AND_TRUTHS else written, written)


def _overlaid(tree: Node, given: Mapping[str, Node]) -> Node:
    """The tree with what a stronger source gives; of alternatives, the weaker source's are dropped."""
    if any(key in given for key in _ALTERNATIVES):
        for key in _ALTERNATIVES:
            tree = _without(tree, key)
    for key, node in given.items():
        tree = _with(tree, key, node)
    return tree


def _with(tree: Node | None, key: str, node: Node) -> Node:
    if tree is not None and not isinstance(tree, Entries):
        return tree  # not a mapping: left as it is, for the reader to refuse
    nodes = tree.nodes if tree else {}
    head, _, rest = key.partition(".")
    inner = _with(nodes.get(head), rest, node) if rest else node
    keys = {**(tree.keys if tree else {}), head: node.place}
    return Entries(tree.place if tree else node.place, {**nodes, head: inner}, keys)


def _without(tree: Node, key: str) -> Node:
    if not isinstance(tree, Entries):
        return tree
    head, _, rest = key.partition(".")
    nodes = dict(tree.nodes)
    inner = nodes.pop(head, None)
    if rest and inner is not None:
        nodes[head] = _without(inner, rest)
    return Entries(tree.place, nodes, tree.keys)


def _settings(keys: Section) -> Settings:
    listen = _off(_listener(secured=keys.has("tls")))
    return Settings(
        state=keys.read("state", path, DEFAULTS.state),
        socket=keys.read("socket", _off(_socket), DEFAULTS.socket),
        grpc=keys.read("grpc", listen, DEFAULTS.grpc),
        http=keys.read("http", listen, DEFAULTS.http),
        # Health and metrics alone: probes and scrapes dial the pod's address, without TLS.
        ops=keys.read("ops", _off(_listener(secured=True)), DEFAULTS.ops),
        egress=keys.read("egress", section(_egress(certified=keys.has("tls"))), DEFAULTS.egress),
        opa=keys.read("opa", section(_opa), DEFAULTS.opa),
        tls=keys.read("tls", section(_tls), DEFAULTS.tls),
        limits=keys.read("limits", section(_limits), DEFAULTS.limits),
        policies=keys.read("policies", items(path), DEFAULTS.policies),
        watch=keys.read("watch", truth, DEFAULTS.watch),
    )


def _egress(*, certified: bool) -> Callable[[Section], EgressSettings]:
    # Always on loopback: what an agent shows there is its own credential.
    http = _listener(secured=False, needed=True, near=True)
    proxy = _off(_listener(secured=False, near=True))

    def read(keys: Section) -> EgressSettings:
        tls = keys.read("tls", truth, DEFAULTS.egress.tls)
        if tls and not certified:
            keys.wrong("tls", "false, or a certificate (`sidecar.tls`) to speak TLS with")
        return EgressSettings(
            on=keys.read("on", truth, DEFAULTS.egress.on),
            http=keys.read("http", http, DEFAULTS.egress.http),
            proxy=keys.read("proxy", proxy, DEFAULTS.egress.proxy),
            binary=keys.read("binary", path, None),
            access_log=keys.read("access_log", truth, DEFAULTS.egress.access_log),
            tls=tls,
        )

    return read


def _opa(keys: Section) -> OpaSettings:
    if keys.has("url") and keys.has("socket"):
        keys.wrong("socket", "url or socket, not both", "a second address")
    return OpaSettings(
        url=keys.read("url", address("http", "https"), ""),
        socket=keys.read("socket", _socket, None),
        binary=keys.read("binary", path, None),
        timeout_ms=keys.read("timeout_ms", whole(10, 60_000), DEFAULTS.opa.timeout_ms),
        batch=keys.read("batch", whole(1, 256), DEFAULTS.opa.batch),
    )


def _tls(keys: Section) -> TlsSettings:
    return TlsSettings(
        cert=keys.require("cert", path, Path()),
        key=keys.require("key", path, Path()),
        client_ca=keys.read("client_ca", path, None),
    )


def _limits(keys: Section) -> Limits:
    limits = DEFAULTS.limits
    return Limits(
        message_bytes=keys.read("message_bytes", whole(4096, 4 << 20), limits.message_bytes),
        metadata_bytes=keys.read("metadata_bytes", whole(1024, 64 << 10), limits.metadata_bytes),
        concurrency=keys.read("concurrency", whole(1, 100_000), limits.concurrency),
        call_seconds=keys.read("call_seconds", whole(1, 3600), limits.call_seconds),
        drain_seconds=keys.read("drain_seconds", whole(0, 3600), limits.drain_seconds),
    )


def _off(reader: Reader[T]) -> Reader[T | None]:
    def read(at: Cursor) -> T | None:
        return None if isinstance(at.node, Leaf) and at.node.text == "off" else reader(at)

    return read


def _listener(*, secured: bool, needed: bool = False, near: bool = False) -> Reader[Address]:
    """`needed`: it cannot be off. `near`: no certificate lets it listen beyond loopback."""
    form = text(_LISTEN, _LISTEN_EXPECTED if needed else f"{_LISTEN_EXPECTED}, or off")

    def read(at: Cursor) -> Address:
        host, _, port = form(at).rpartition(":")
        found = Address(host.strip("[]"), int(port))
        if found.port > 65535:
            raise at.wrong("a port up to 65535")
        if not secured and not found.loopback:
            raise at.wrong(
                "a loopback address" + ("" if near else ", or a certificate (`tls`) to listen elsewhere with")
            )
        return found

    return read


def _socket(at: Cursor) -> Path:
    found = path(at)
    if len(os.fsencode(found)) > MAX_SOCKET_BYTES:
        raise at.wrong(f"a socket's path of at most {MAX_SOCKET_BYTES} bytes")
    return found
