"""Flags win over the environment, and this over the file; wrong values are told by where they came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from remit.config import CatalogueInvalid, Settings, load
from remit.config.approval_settings import ApprovalSettings, WebhookSettings
from remit.config.desk_settings import DeskSettings, OidcSettings
from remit.config.kubernetes_settings import KubernetesSettings
from remit.config.settings import DEFAULTS, FLAGS, VARIABLES, Address, EgressSettings, Limits, OpaSettings, TlsSettings
from remit.config.store_settings import StoreSettings

FULL = Path(__file__).parents[1] / "cases" / "catalogue_full.yaml"

Load = Callable[..., Settings]


@pytest.fixture
def read(tmp_path: Path) -> Load:
    """Reads settings from a `sidecar:` section, environment and flags."""
    path, bundled = tmp_path / "remit.yaml", tmp_path / "bundled.yaml"
    bundled.write_text("currency: EUR\n")

    def run(sidecar: str = "{}", environ: Mapping[str, str] | None = None, **flags: object) -> Settings:
        # With a bundle, the catalogue is there.
        catalogue = "" if "bundle" in sidecar else "currency: EUR\n"
        path.write_text(f"{catalogue}sidecar: {sidecar}\n")
        return load([path], environ or {}, flags, lambda settings: (bundled, None))[0]

    return run


def test_the_defaults_are_the_published_ones(read: Load) -> None:
    """Without any setting, everything listens on loopback, and state lies below the working directory."""
    published = Settings(
        state=Path("./.remit"),
        keys=None,
        store=StoreSettings(url="", password_file=None, allotments=True, local=("api.call",)),
        socket=Path("./.remit-run/remit.sock"),
        grpc=Address("127.0.0.1", 7450),
        http=Address("127.0.0.1", 7451),
        ops=None,
        console=False,
        desk=DeskSettings(grpc=Address("127.0.0.1", 7460), http=Address("127.0.0.1", 7461), oidc=None, tls=None),
        approvals=ApprovalSettings(wait=600, webhook=None),
        egress=EgressSettings(on=False, http=Address("127.0.0.1", 7452), proxy=Address("127.0.0.1", 7453)),
        opa=OpaSettings(timeout_ms=1000),
        tls=None,
        policies=(),
        watch=True,
    )
    assert read() == DEFAULTS == published


def test_every_setting_can_be_written_in_the_file() -> None:
    """The full example sets each of them, and paths are meant from where the file lies."""
    settings, _ = load([FULL], {}, {})
    here = FULL.parent
    assert settings == Settings(
        state=here / ".remit",
        keys=here / "shared-keys",
        store=StoreSettings(
            url="postgresql://remit_sidecar@db.example.com/remit",
            password_file=Path("/secrets/store"),
            allotments=False,
            local=("api.call", "data.read"),
        ),
        socket=here / ".remit-run/remit.sock",
        grpc=Address("127.0.0.1", 7450),
        http=Address("::1", 7451),
        ops=Address("0.0.0.0", 9090),
        console=True,
        desk=DeskSettings(
            grpc=Address("0.0.0.0", 7460),
            http=Address("0.0.0.0", 7461),
            hosts=("desk.internal",),
            public_url="https://desk.example.com",
            oidc=OidcSettings(
                "https://id.example.com/realm", "remit", Path("/secrets/oidc"), "sub", here / "tls/id-ca.crt"
            ),
            tls=TlsSettings(cert=here / "tls/desk.crt", key=here / "tls/desk.key", client_ca=here / "tls/ca.crt"),
        ),
        approvals=ApprovalSettings(
            300, WebhookSettings("https://chat.example.com/hooks/remit?key=a", Path("/secrets/webhook"))
        ),
        egress=EgressSettings(on=True, binary=Path("/usr/local/bin/envoy"), access_log=True, tls=True),
        opa=OpaSettings(socket=here / "opa.sock", binary=Path("/usr/local/bin/opa"), timeout_ms=500, batch=16),
        tls=TlsSettings(cert=here / "tls/tls.crt", key=here / "tls/tls.key", client_ca=here / "tls/ca.crt"),
        kubernetes=KubernetesSettings(
            audience="remit",
            issuer="https://kubernetes.default.svc.cluster.local",
            api="https://10.96.0.1:443",
            credentials=Path("/var/run/secrets/kubernetes.io/serviceaccount"),
            jwks=Path("/etc/remit/jwks.json"),
            token_file=Path("/var/run/remit/token/token"),
        ),
        limits=Limits(message_bytes=131072, metadata_bytes=4096, concurrency=256, call_seconds=20, drain_seconds=5),
        policies=(here / "policies",),
        watch=False,
    )


VALUES: dict[str, tuple[str, object]] = {
    "state": ("/s", Path("/s")),
    "keys": ("/k", Path("/k")),
    "store.url": ("postgresql://remit@/remit?host=/run/pg", "postgresql://remit@/remit?host=/run/pg"),
    "store.password_file": ("/secrets/store", Path("/secrets/store")),
    "store.allotments": ("false", False),
    "store.local": ("data.read, api.call", ("data.read", "api.call")),
    "socket": ("run/a.sock", Path("run/a.sock")),
    "grpc": ("127.0.0.1:0", Address("127.0.0.1", 0)),
    "http": ("[::1]:1", Address("::1", 1)),
    "ops": ("0.0.0.0:2", Address("0.0.0.0", 2)),
    "console": ("true", True),
    "desk.grpc": ("0.0.0.0:3", Address("0.0.0.0", 3)),
    "desk.http": ("0.0.0.0:4", Address("0.0.0.0", 4)),
    "desk.hosts": ("desk.internal,desk", ("desk.internal", "desk")),
    "desk.public_url": ("http://localhost:7461/", "http://localhost:7461"),
    "desk.oidc.issuer": ("https://id.example.com/a", "https://id.example.com/a"),
    "desk.oidc.client_id": ("remit", "remit"),
    "desk.oidc.client_secret_file": ("secret", Path("secret")),
    "desk.oidc.claim": ("preferred_username", "preferred_username"),
    "desk.oidc.ca": ("ca", Path("ca")),
    "desk.tls.cert": ("dc", Path("dc")),
    "desk.tls.key": ("dk", Path("dk")),
    "desk.tls.client_ca": ("dca", Path("dca")),
    "approvals.wait": ("1h", 3600),
    "approvals.webhook.url": ("http://[::1]:1/hook?a=b", "http://[::1]:1/hook?a=b"),
    "approvals.webhook.secret_file": ("w", Path("w")),
    "egress.on": ("true", True),
    "egress.http": ("127.0.0.1:0", Address("127.0.0.1", 0)),
    "egress.proxy": ("[::1]:0", Address("::1", 0)),
    "egress.binary": ("envoy", Path("envoy")),
    "egress.access_log": ("true", True),
    "egress.tls": ("true", True),
    "opa.url": ("http://127.0.0.1:8181", "http://127.0.0.1:8181"),
    "opa.socket": ("o.sock", Path("o.sock")),
    "opa.binary": ("123", Path("123")),
    "opa.timeout_ms": ("250", 250),
    "opa.batch": ("1", 1),
    "tls.cert": ("c", Path("c")),
    "tls.key": ("k", Path("k")),
    "tls.client_ca": ("ca", Path("ca")),
    "kubernetes.audience": ("a", "a"),
    "kubernetes.issuer": ("https://i", "https://i"),
    "kubernetes.api": ("https://k:1", "https://k:1"),
    "kubernetes.credentials": ("kc", Path("kc")),
    "kubernetes.jwks": ("kj", Path("kj")),
    "kubernetes.token_file": ("kt", Path("kt")),
    "limits.message_bytes": ("5000", 5000),
    "limits.metadata_bytes": ("2048", 2048),
    "limits.concurrency": ("3", 3),
    "limits.call_seconds": ("4", 4),
    "limits.drain_seconds": ("0", 0),
    "bundle.url": ("https://b/c?d", "https://b/c?d"),
    "bundle.key": ("k", Path("k")),
    "bundle.token_file": ("t", Path("t")),
    "bundle.ca": ("c", Path("c")),
    "bundle.poll_seconds": ("7", 7),
    "policies": ("p:q", (Path("p"), Path("q"))),
    "watch": ("false", False),
}


# What some settings need beside them.
NEEDED = """{
  tls: {cert: "/f.crt", key: "/f.key"},
  store: {url: "postgresql://remit@db/remit"},
  kubernetes: {issuer: "https://k"},
  approvals: {webhook: {url: "https://chat/hook", secret_file: a}},
  desk: {
    tls: {cert: "/f.crt", key: "/f.key"},
    public_url: "https://desk",
    oidc: {issuer: "https://id", client_id: a, client_secret_file: b}}}"""


BUNDLED = '{bundle: {url: "https://b/b", key: k}}'


def at(settings: Settings, key: str) -> Any:
    found: Any = settings
    for name in key.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("key", VARIABLES)
def test_every_setting_has_a_variable_and_a_flag(key: str, read: Load) -> None:
    """Each can be set from the environment and by a flag, and the flag wins; paths are the caller's."""
    written, value = VALUES[key]
    needed = BUNDLED if key.startswith("bundle.") else NEEDED
    flag = next(name for name, meant in FLAGS.items() if meant == key)
    assert at(read(needed, {VARIABLES[key]: written}), key) == value
    assert at(read(needed, **{flag: written}), key) == value
    wrong = {VARIABLES[key]: "\x7f"}
    assert at(read(needed, wrong, **{flag: written}), key) == value


@pytest.mark.parametrize(
    ("bundle", "said"),
    [
        ("{url: 'https://b/b'}", "sidecar.bundle.key: found nothing"),
        ("{key: k}", "sidecar.bundle.url: found something that is not text"),
        ("{url: 'http://b/b', key: k}", "on loopback alone"),
        ("{url: 'ftp://b/b', key: k}", "expected https://"),
        ("{url: 'https://u:hidden@b/b', key: k}", "without user or fragment"),
        ("{url: 'https://b/b#hidden', key: k}", "without user or fragment"),
        ("{url: 'https://b:99999/b', key: k}", "another URL (not shown)"),
        ("{url: 'https://b/b', key: k, poll_seconds: 4}", "a whole number from 5 to 3600"),
        ("{url: 'https://b/b', key: k, serial: 4}", "an unknown key"),
        ("{url: 'https://b/b', key: k}, policies: [p]", "policies here or in the `bundle`, not both"),
    ],
)
def test_a_bundle_is_had_safely_or_not_at_all(read: Load, bundle: str, said: str) -> None:
    """Over TLS but on this machine, with a key, and without anything secret in a message."""
    with pytest.raises(CatalogueInvalid) as error:
        read(f"{{bundle: {bundle}}}")
    assert said in str(error.value)
    assert "hidden" not in str(error.value)


def test_a_bundle_and_a_catalogue_exclude_each_other(tmp_path: Path) -> None:
    """The file of settings has nothing else, the bundle has no settings, and who fetches none is told so."""
    file, bundled = tmp_path / "remit.yaml", tmp_path / "bundled.yaml"
    file.write_text(f"currency: EUR\nteams: {{}}\nsidecar: {BUNDLED}\n")
    bundled.write_text("currency: EUR\nsidecar: {watch: false}\n")
    with pytest.raises(CatalogueInvalid, match="a catalogue beside a bundle") as both:
        load([file], {}, {}, lambda settings: (bundled, None))
    assert [problem.path for problem in both.value.errors] == ["currency", "teams"]
    file.write_text(f"sidecar: {BUNDLED}\n")
    with pytest.raises(CatalogueInvalid, match="settings in a bundle"):
        load([file], {}, {}, lambda settings: (bundled, None))
    with pytest.raises(CatalogueInvalid, match="fetched by `remit up` and `remit desk` alone"):
        load([file], {}, {})
    bundled.write_text("currency: EUR\n")
    settings, catalogue = load([file], {}, {}, lambda settings: (bundled, Path("p")))
    assert (catalogue.currency, settings.policies) == ("EUR", (Path("p"),))
    assert "b/b" not in repr(settings)


def test_the_environment_wins_over_the_file(read: Load) -> None:
    """A variable replaces what is written, and leaves what stands beside it."""
    opa = read("{opa: {timeout_ms: 50, batch: 2}}", {"REMIT_OPA_TIMEOUT_MS": "60"}).opa
    assert (opa.timeout_ms, opa.batch) == (60, 2)


def test_flags_come_as_the_command_line_has_them(read: Load) -> None:
    """Numbers, switches, paths and lists need not be text; what was not given is None."""
    settings = read(grpc=None, watch=False, opa_batch=7, state=Path("x"), policies=(Path("a"), "b"))
    assert (settings.grpc, settings.watch, settings.opa.batch) == (DEFAULTS.grpc, False, 7)
    assert (settings.state, settings.policies) == (Path("x"), (Path("a"), Path("b")))


def test_an_empty_variable_is_not_set(read: Load) -> None:
    """`REMIT_GRPC=` means nothing, as in a shell that clears it."""
    assert read("{grpc: '127.0.0.1:1'}", {"REMIT_GRPC": ""}).grpc == Address("127.0.0.1", 1)


def test_other_variables_are_not_ours(read: Load) -> None:
    """What a cluster sets for a service that is called remit does not concern the sidecar."""
    assert read(environ={"REMIT_PORT": "tcp://10.0.0.1:80", "REMIT_TOKEN": "t", "PATH": "/"}) == DEFAULTS


def test_listeners_can_be_off(read: Load) -> None:
    """`off` closes a listener, whatever a weaker source says."""
    settings = read("{grpc: off, socket: off}", {"REMIT_HTTP": "off"})
    assert (settings.grpc, settings.http, settings.socket) == (None, None, None)


def test_nothing_is_answered_from_the_local_disk_where_that_is_said(read: Load) -> None:
    """An empty list in the file, `off` in the environment."""
    assert read("{store: {local: []}}").store.local == ()
    assert read("{}", {"REMIT_STORE_LOCAL": "off"}).store.local == ()


def test_a_stronger_source_chooses_another_opa(read: Load) -> None:
    """A socket in the environment replaces a URL in the file, rather than standing beside it."""
    opa = read("{opa: {url: 'http://127.0.0.1:1', batch: 2}}", {"REMIT_OPA_SOCKET": "/o.sock"}).opa
    assert (opa.url, opa.socket, opa.batch) == ("", Path("/o.sock"), 2)


def test_beyond_loopback_a_certificate_is_needed(read: Load) -> None:
    """With TLS a listener may listen anywhere; `ops` may without."""
    tls = "tls: {cert: a, key: b}"
    assert read("{grpc: '0.0.0.0:7450', http: '[::]:1', " + tls + "}").grpc == Address("0.0.0.0", 7450)
    assert read("{ops: '0.0.0.0:9090'}").ops == Address("0.0.0.0", 9090)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("0", False),
    ],
)
def test_loopback_is_what_only_this_machine_can_reach(host: str, loopback: bool) -> None:
    """A name other than localhost could be anywhere."""
    assert Address(host, 1).loopback is loopback


def test_an_address_is_shown_as_it_is_written() -> None:
    """IPv6 addresses stand in brackets."""
    assert [str(Address("::1", 1)), str(Address("127.0.0.1", 2))] == ["[::1]:1", "127.0.0.1:2"]


@pytest.mark.parametrize(
    ("environ", "flags", "want"),
    [
        (
            {"REMIT_GRPC": "0.0.0.0:7450"},
            {},
            'environment: REMIT_GRPC: sidecar.grpc: found "0.0.0.0:7450"; '
            "expected a loopback address, or a certificate (`tls`) to listen elsewhere with",
        ),
        (
            {"REMIT_WATCH": "yes"},
            {},
            'environment: REMIT_WATCH: sidecar.watch: found "yes"; expected true or false',
        ),
        (
            {"REMIT_OPA_TIMEOUT_MS": "1.5"},
            {},
            "environment: REMIT_OPA_TIMEOUT_MS: sidecar.opa.timeout_ms: found 1.5; "
            "expected a whole number from 10 to 60000",
        ),
        (
            {},
            {"opa_timeout_ms": 5},
            "command line: --opa-timeout-ms: sidecar.opa.timeout_ms: found 5; expected a whole number from 10 to 60000",
        ),
        (
            {},
            {"http": "here"},
            'command line: --http: sidecar.http: found "here"; expected HOST:PORT such as 127.0.0.1:7450, or off',
        ),
        (
            {},
            {"egress_http": "off"},
            'command line: --egress-http: sidecar.egress.http: found "off"; expected HOST:PORT such as 127.0.0.1:7450',
        ),
        (
            {"REMIT_EGRESS_PROXY": "0.0.0.0:1"},
            {},
            'environment: REMIT_EGRESS_PROXY: sidecar.egress.proxy: found "0.0.0.0:1"; expected a loopback address',
        ),
        (
            {"REMIT_TLS_CERT": "a.crt"},
            {},
            "environment: REMIT_TLS_CERT: sidecar.tls.key: found nothing; expected a path",
        ),
        (
            {"REMIT_EGRESS_TLS": "true"},
            {},
            "environment: REMIT_EGRESS_TLS: sidecar.egress.tls: found true; "
            "expected false, or a certificate (`sidecar.tls`) to speak TLS with",
        ),
        (
            {"REMIT_STORE_URL": "postgresql://remit:hunter2@db/remit"},
            {},
            "environment: REMIT_STORE_URL: sidecar.store.url: found a password; "
            "expected none in it: `store.password_file` says where it is",
        ),
        (
            {"REMIT_STORE_URL": "sqlite:///a.db"},
            {},
            "environment: REMIT_STORE_URL: sidecar.store.url: found the URL of another database; "
            "expected postgresql://user@host:port/database",
        ),
        (
            {"REMIT_STORE_URL": "db.example.com"},
            {},
            "environment: REMIT_STORE_URL: sidecar.store.url: found no scheme; "
            "expected postgresql://user@host:port/database",
        ),
        (
            {"REMIT_STORE_PASSWORD_FILE": "/p"},
            {},
            'environment: REMIT_STORE_PASSWORD_FILE: sidecar.store.password_file: found "/p"; '
            "expected a password only beside `url`, of the database that it is for",
        ),
        (
            {"REMIT_STORE_LOCAL": "api.call,data.write"},
            {},
            'environment: REMIT_STORE_LOCAL: sidecar.store.local[1]: found "data.write"; '
            "expected api.call or data.read: PostgreSQL must have everything else before the answer",
        ),
        (
            {"REMIT_CONSOLE": "true", "REMIT_HTTP": "off"},
            {},
            "environment: REMIT_CONSOLE: sidecar.console: found true; "
            "expected false, or an address (`sidecar.http`) for it",
        ),
        (
            {"REMIT_DESK_GRPC": "0.0.0.0:7460"},
            {},
            'environment: REMIT_DESK_GRPC: sidecar.desk.grpc: found "0.0.0.0:7460"; '
            "expected a loopback address, or a certificate (`tls`) to listen elsewhere with",
        ),
        (
            {},
            {"desk_grpc": "off", "desk_http": "off"},
            'command line: --desk-http: sidecar.desk.http: found "off"; '
            "expected HOST:PORT here or in `grpc`: a desk listens somewhere",
        ),
        (
            {"REMIT_DESK_PUBLIC_URL": "http://desk.example.com"},
            {},
            'environment: REMIT_DESK_PUBLIC_URL: sidecar.desk.public_url: found "http://desk.example.com"; '
            "expected https://HOST[:PORT] (http:// on loopback alone)",
        ),
        (
            {"REMIT_DESK_PUBLIC_URL": "https://desk.example.com/remit"},
            {},
            'environment: REMIT_DESK_PUBLIC_URL: sidecar.desk.public_url: found "https://desk.example.com/remit"; '
            "expected https://HOST[:PORT] (http:// on loopback alone)",
        ),
        (
            {"REMIT_DESK_HOSTS": "desk:7461"},
            {},
            'environment: REMIT_DESK_HOSTS: sidecar.desk.hosts[0]: found "desk:7461"; '
            "expected a host's name, without a port",
        ),
        (
            {"REMIT_APPROVALS_WAIT": "61m"},
            {},
            'environment: REMIT_APPROVALS_WAIT: sidecar.approvals.wait: found "61m"; '
            "expected a duration such as 30s or 10m, up to 1h",
        ),
        (
            {"REMIT_APPROVALS_WEBHOOK_URL": "https://chat.example.com/T0/c4n4ry"},
            {},
            "environment: REMIT_APPROVALS_WEBHOOK_URL: sidecar.approvals.webhook.secret_file: found nothing; "
            "expected a path",
        ),
        (
            {},
            {"statte": "x"},
            'command line: --statte: sidecar.statte: found an unknown key; expected a known one: did you mean "state"?',
        ),
    ],
)
def test_wrong_values_are_told_by_their_source(
    environ: dict[str, str], flags: dict[str, object], want: str, read: Load, tmp_path: Path
) -> None:
    """The variable or flag is named, then the setting, what was found and what was expected."""
    with pytest.raises(CatalogueInvalid) as refused:
        read("{}", environ, **flags)
    assert str(refused.value).replace(f"{tmp_path}/", "") == want


@pytest.mark.parametrize(
    "url",
    [
        "http://chat.example.com/c4n4ry",
        "http://10.0.0.1/c4n4ry",
        "http://localhost.example.com/c4n4ry",
        "https://user:c4n4ry@chat.example.com/",
        "https://chat.example.com/#c4n4ry",
        "https://chat.example.com:0/c4n4ry",
        "https://chat.example.com:99999/c4n4ry",
        "https:///c4n4ry",
        "https://[::1/c4n4ry",
        "https://chat.example.com/c4n4 ry",
        "ftp://chat.example.com/c4n4ry",
        "chat.example.com/c4n4ry",
        "https://chat.example.com/c4n4ry/" + 1000 * "a",
    ],
)
def test_a_webhook_that_cannot_be_used_is_refused_and_not_repeated(url: str, read: Load) -> None:
    """Events do not pass a network in plain text; and the address of a chat tool's webhook is a secret of its own."""
    with pytest.raises(CatalogueInvalid) as refused:
        read("{approvals: {webhook: {secret_file: a}}}", {"REMIT_APPROVALS_WEBHOOK_URL": url})
    (error,) = refused.value.errors
    assert (error.path, error.expected) == (
        "sidecar.approvals.webhook.url",
        "https://HOST[:PORT]/PATH (http:// on loopback alone)",
    )
    assert "c4n4" not in str(refused.value)


def test_a_webhook_s_address_is_not_shown(read: Load) -> None:
    """Not where settings are printed; it is there for who posts."""
    settings = read("{approvals: {webhook: {url: 'https://chat.example.com/c4n4ry', secret_file: a}}}")
    assert settings.approvals.webhook is not None
    assert settings.approvals.webhook.url.endswith("c4n4ry")
    assert "c4n4ry" not in repr(settings)


def test_signing_in_by_oidc_needs_the_address_that_people_use(read: Load, tmp_path: Path) -> None:
    """The provider sends browsers back there; and its secrets do not pass a network in plain text."""
    oidc = 'oidc: {issuer: "http://id.example.com", client_id: a, client_secret_file: b}'
    with pytest.raises(CatalogueInvalid) as refused:
        read("{desk: {" + oidc + "}}")
    assert str(refused.value).replace(f"{tmp_path}/", "").splitlines() == [
        "remit.yaml:2:24: sidecar.desk.oidc: found nothing of that; "
        "expected `public_url` beside it: where the provider sends people back to",
        'remit.yaml:2:33: sidecar.desk.oidc.issuer: found "http://id.example.com"; '
        "expected https://HOST[:PORT]/PATH (http:// on loopback alone)",
    ]


def test_an_issuer_is_kept_to_the_letter(read: Load) -> None:
    """A provider whose name ends in a slash signs with it; the address that people use is an origin."""
    oidc = 'oidc: {issuer: "https://id.example.com/", client_id: a}'
    desk = read("{desk: {public_url: 'https://desk.example.com/', " + oidc + "}}").desk
    assert desk.oidc is not None
    assert (desk.oidc.issuer, desk.public_url) == ("https://id.example.com/", "https://desk.example.com")


def test_mistakes_of_file_environment_and_flags_are_told_together(read: Load) -> None:
    """One run tells all of them."""
    with pytest.raises(CatalogueInvalid) as refused:
        read("{watch: 1}", {"REMIT_GRPC": "x"}, opa_batch=0)
    paths = sorted(error.path for error in refused.value.errors)
    assert paths == ["sidecar.grpc", "sidecar.opa.batch", "sidecar.watch"]
