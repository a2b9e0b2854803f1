"""The sidecar's own settings: flags before `REMIT_*` in the environment before `sidecar:` in `remit.yaml`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from remit.config.approval_settings import ApprovalSettings, approvals
from remit.config.bundle_settings import BundleSettings, bundle
from remit.config.desk_settings import DeskSettings, desk
from remit.config.kubernetes_settings import KubernetesSettings, kubernetes
from remit.config.listening import Address as Address
from remit.config.listening import TlsSettings as TlsSettings
from remit.config.listening import listener, off, tls, unix_socket
from remit.config.problem import Place
from remit.config.reading import Cursor, Section, Wrong, items, section, truth, whole
from remit.config.store_settings import StoreSettings, store
from remit.config.tree import Entries, Items, Leaf, Node, plain
from remit.config.values import address, path

ENVIRONMENT = "environment"
COMMAND_LINE = "command line"
GRPC, HTTP = Address("127.0.0.1", 7450), Address("127.0.0.1", 7451)
EGRESS, PROXY = Address("127.0.0.1", 7452), Address("127.0.0.1", 7453)


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
    http: Address = EGRESS
    proxy: Address | None = PROXY
    binary: Path | None = None
    access_log: bool = False
    tls: bool = False


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
    """How one sidecar, or desk, runs. A listener that is None is off; `policies` are users' own policy directories.
    With a `bundle`, catalogue and policies come from there.

    `keys` is the directory of the keys that all members of an installation have; None: the state directory's.
    """

    state: Path = Path(".remit")
    keys: Path | None = None
    store: StoreSettings = field(default_factory=StoreSettings)
    socket: Path | None = Path(".remit-run/remit.sock")
    grpc: Address | None = GRPC
    http: Address | None = HTTP
    ops: Address | None = None
    console: bool = False
    desk: DeskSettings = field(default_factory=DeskSettings)
    approvals: ApprovalSettings = field(default_factory=ApprovalSettings)
    egress: EgressSettings = field(default_factory=EgressSettings)
    opa: OpaSettings = field(default_factory=OpaSettings)
    tls: TlsSettings | None = None
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)
    limits: Limits = field(default_factory=Limits)
    bundle: BundleSettings | None = None
    policies: tuple[Path, ...] = ()
    watch: bool = True


VARIABLES: Mapping[str, str] = {
    "state": "REMIT_STATE",
    "keys": "REMIT_KEYS",
    "store.url": "REMIT_STORE_URL",
    "store.password_file": "REMIT_STORE_PASSWORD_FILE",
    "store.allotments": "REMIT_STORE_ALLOTMENTS",
    "store.local": "REMIT_STORE_LOCAL",
    "socket": "REMIT_SOCKET",
    "grpc": "REMIT_GRPC",
    "http": "REMIT_HTTP",
    "ops": "REMIT_OPS",
    "console": "REMIT_CONSOLE",
    "desk.grpc": "REMIT_DESK_GRPC",
    "desk.http": "REMIT_DESK_HTTP",
    "desk.hosts": "REMIT_DESK_HOSTS",
    "desk.public_url": "REMIT_DESK_PUBLIC_URL",
    "desk.oidc.issuer": "REMIT_DESK_OIDC_ISSUER",
    "desk.oidc.client_id": "REMIT_DESK_OIDC_CLIENT_ID",
    "desk.oidc.client_secret_file": "REMIT_DESK_OIDC_CLIENT_SECRET_FILE",
    "desk.oidc.claim": "REMIT_DESK_OIDC_CLAIM",
    "desk.oidc.ca": "REMIT_DESK_OIDC_CA",
    "desk.tls.cert": "REMIT_DESK_TLS_CERT",
    "desk.tls.key": "REMIT_DESK_TLS_KEY",
    "desk.tls.client_ca": "REMIT_DESK_TLS_CLIENT_CA",
    "approvals.wait": "REMIT_APPROVALS_WAIT",
    "approvals.webhook.url": "REMIT_APPROVALS_WEBHOOK_URL",
    "approvals.webhook.secret_file": "REMIT_APPROVALS_WEBHOOK_SECRET_FILE",
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
    "kubernetes.audience": "REMIT_KUBERNETES_AUDIENCE",
    "kubernetes.issuer": "REMIT_KUBERNETES_ISSUER",
    "kubernetes.api": "REMIT_KUBERNETES_API",
    "kubernetes.credentials": "REMIT_KUBERNETES_CREDENTIALS",
    "kubernetes.jwks": "REMIT_KUBERNETES_JWKS",
    "kubernetes.token_file": "REMIT_KUBERNETES_TOKEN_FILE",
    "limits.message_bytes": "REMIT_LIMITS_MESSAGE_BYTES",
    "limits.metadata_bytes": "REMIT_LIMITS_METADATA_BYTES",
    "limits.concurrency": "REMIT_LIMITS_CONCURRENCY",
    "limits.call_seconds": "REMIT_LIMITS_CALL_SECONDS",
    "limits.drain_seconds": "REMIT_LIMITS_DRAIN_SECONDS",
    "bundle.url": "REMIT_BUNDLE_URL",
    "bundle.key": "REMIT_BUNDLE_KEY",
    "bundle.token_file": "REMIT_BUNDLE_TOKEN_FILE",
    "bundle.ca": "REMIT_BUNDLE_CA",
    "bundle.poll_seconds": "REMIT_BUNDLE_POLL_SECONDS",
    "policies": "REMIT_POLICIES",
    "watch": "REMIT_WATCH",
}
"""Each setting's key in `sidecar:` and its environment variable. A flag is the key with `_` for `.`."""

FLAGS: Mapping[str, str] = {key.replace(".", "_"): key for key in VARIABLES}
"""Each flag's name in the mapping of flags, and its key."""


DEFAULTS = Settings()

_NUMBERS_AND_TRUTHS = {key for key in VARIABLES if key.startswith("limits.")} | {
    "bundle.poll_seconds",
    "opa.timeout_ms",
    "opa.batch",
    "egress.on",
    "egress.access_log",
    "egress.tls",
    "store.allotments",
    "console",
    "watch",
}
_LISTS = {"policies": os.pathsep, "store.local": ",", "desk.hosts": ","}
"""Settings that are lists, and what parts them where they are one text. `off` is an empty list."""
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
    if key in _LISTS:
        parts = value.split(_LISTS[key]) if isinstance(value, str) else value
        listed = [str(part).strip() for part in parts if str(part)] if isinstance(parts, Iterable) else []
        listed = [] if listed == ["off"] else listed
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
    listen = off(listener(secured=keys.has("tls")))
    settings = Settings(
        state=keys.read("state", path, DEFAULTS.state),
        keys=keys.read("keys", path, DEFAULTS.keys),
        store=keys.read("store", section(store), DEFAULTS.store),
        socket=keys.read("socket", off(unix_socket), DEFAULTS.socket),
        grpc=keys.read("grpc", listen, DEFAULTS.grpc),
        http=keys.read("http", listen, DEFAULTS.http),
        # Health and metrics alone: probes and scrapes dial the pod's address, without TLS.
        ops=keys.read("ops", off(listener(secured=True)), DEFAULTS.ops),
        console=keys.read("console", truth, DEFAULTS.console),
        desk=keys.read("desk", section(desk), DEFAULTS.desk),
        approvals=keys.read("approvals", section(approvals), DEFAULTS.approvals),
        egress=keys.read("egress", section(_egress(certified=keys.has("tls"))), DEFAULTS.egress),
        opa=keys.read("opa", section(_opa), DEFAULTS.opa),
        tls=keys.read("tls", section(tls), DEFAULTS.tls),
        kubernetes=keys.read("kubernetes", section(kubernetes), DEFAULTS.kubernetes),
        limits=keys.read("limits", section(_limits), DEFAULTS.limits),
        bundle=keys.read("bundle", section(bundle), None),
        policies=keys.read("policies", items(path), DEFAULTS.policies),
        watch=keys.read("watch", truth, DEFAULTS.watch),
    )
    if settings.console and settings.http is None:
        keys.wrong("console", "false, or an address (`sidecar.http`) for it")
    if settings.bundle is not None and settings.policies:
        keys.wrong("policies", "policies here or in the `bundle`, not both", "both")
    return settings


def _egress(*, certified: bool) -> Callable[[Section], EgressSettings]:
    # Always on loopback: what an agent shows there is its own credential.
    http = listener(secured=False, needed=True, near=True)
    proxy = off(listener(secured=False, near=True))

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
        socket=keys.read("socket", unix_socket, None),
        binary=keys.read("binary", path, None),
        timeout_ms=keys.read("timeout_ms", whole(10, 60_000), DEFAULTS.opa.timeout_ms),
        batch=keys.read("batch", whole(1, 256), DEFAULTS.opa.batch),
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
