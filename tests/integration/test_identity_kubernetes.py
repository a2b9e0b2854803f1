"""Service accounts' tokens against a cluster's API server: who they prove, and every way in which they prove nobody."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from fakes.cluster import (
    AUDIENCE,
    ELLIPTIC,
    FIRST,
    HOUR,
    ISSUER,
    SECOND,
    SECOND_KEY,
    FakeApi,
    Signer,
    by_hand,
    claims,
    hmac_by_public_key,
)
from fakes.loop import in_loop
from fakes.world import FakeClock
from joserfc.jwk import ECKey, OKPKey, RSAKey
from remit.backends import identity_kubernetes
from remit.backends.identity_catalogue import CatalogueIdentity
from remit.backends.identity_kubernetes import Cluster
from remit.backends.kubernetes_keys import KEPT_SECONDS, ClusterKeys, FromFile
from remit.backends.kubernetes_reviews import Reviews
from remit.backends.kubernetes_tokens import KeysInvalid, read_keys
from remit.core.catalogue import Agent, Catalogue, Identity, Person
from remit.core.errors import Unauthenticated
from remit.core.evidence import Evidence, PeerCertificate
from remit.core.kubernetes import Claims, ServiceAccount, read_claims

JWKS, REVIEWS = "/openid/v1/jwks", "/apis/authentication.k8s.io/v1/tokenreviews"
ANA, WRITER, OPERATOR = "token-of-ana", "token-of-writer", "token-of-operator"
HERE, THERE = "ipv4:127.0.0.1", "ipv4:10.0.0.9"


def hashed(token: str) -> str:
    return f"sha256:{sha256(token.encode()).hexdigest()}"


def account(name: str, *, fresh: bool = False) -> Identity:
    return Identity(kubernetes=(ServiceAccount("agents", name, fresh=fresh),))


CATALOGUE = Catalogue(
    "EUR",
    agents={
        "support": Agent("cx", identity=account("support")),
        "payments": Agent("cx", identity=account("payments", fresh=True)),
        "writer": Agent("cx", identity=Identity((hashed(WRITER),), uris=("spiffe://x/writer",))),
    },
    people={"ana": Person(("auditor",), Identity((hashed(ANA),)))},
)


def evidence(token: str = "", peer: str = HERE, certificate: PeerCertificate | None = None) -> Evidence:
    return Evidence(token, certificate, peer, near=peer == HERE)


async def who(identity: CatalogueIdentity, shown: str | Evidence) -> str:
    """The subject's id, or the cause why nobody was proved. No message has a part of the token in it."""
    shown = evidence(shown) if isinstance(shown, str) else shown
    try:
        return (await identity.identify(shown)).id
    except Unauthenticated as error:
        for part in filter(lambda each: len(each) > 8, shown.token.split(".")):
            assert part not in str(error)
        return str(error.cause)


# --- what a token must be

NOW = FakeClock().now()
STRANGER = Signer("first", RSAKey.generate_key(2048))
OTHER_CURVE = Signer("p384", ECKey.generate_key("P-384"), "ES384")


def good(account: str = "support", signer: Signer = FIRST, **more: object) -> str:
    return signer.sign(claims(NOW, account, **more))  # type: ignore[arg-type]


def bound(**more: object) -> dict[str, object]:
    """The cluster's own claims, some of them otherwise."""
    usual = claims(NOW)["kubernetes.io"]
    assert isinstance(usual, dict)
    return {"kubernetes.io": {**usual, **more}}


ATTACKS: dict[str, tuple[str, str]] = {
    "alg none": (by_hand({"alg": "none", "kid": "first"}, claims(NOW)), "unknown"),
    "alg none with a signature": (by_hand({"alg": "none", "kid": "first"}, claims(NOW), b"x"), "malformed"),
    "alg None with a signature": (by_hand({"alg": "None", "kid": "first"}, claims(NOW), b"x" * 256), "malformed"),
    "no signature": (good().rpartition(".")[0] + ".", "unknown"),
    "the public key as a secret": (hmac_by_public_key(FIRST, claims(NOW)), "malformed"),
    "another key under a known id": (STRANGER.sign(claims(NOW)), "unknown"),
    "an id of another of the keys": (ELLIPTIC.sign(claims(NOW), kid="first"), "malformed"),
    "an RSA token by the elliptic key's id": (FIRST.sign(claims(NOW), kid="elliptic"), "malformed"),
    "an algorithm that the key is not for": (FIRST.sign(claims(NOW), alg="RS384"), "malformed"),
    "PSS by the RSA key": (FIRST.sign(claims(NOW), alg="PS256"), "malformed"),
    "another curve": (OTHER_CURVE.sign(claims(NOW)), "malformed"),
    "an unknown id": (SECOND_KEY.sign(claims(NOW)), "unknown"),
    "no id": (FIRST.sign(claims(NOW), kid=None), "malformed"),
    "a path as an id": (FIRST.sign(claims(NOW), kid="../../dev/null"), "unknown"),
    "an id that is a list": (by_hand({"alg": "RS256", "kid": ["first"]}, claims(NOW), b"x" * 256), "malformed"),
    "a key of its own": (STRANGER.sign(claims(NOW), jwk=STRANGER.public), "malformed"),
    "a key somewhere else": (FIRST.sign(claims(NOW), jku="https://evil.example/jwks"), "malformed"),
    "a critical extension": (by_hand({"alg": "RS256", "kid": "first", "crit": ["x"]}, claims(NOW), b"x"), "malformed"),
    "a header with alg twice": (
        base64.urlsafe_b64encode(b'{"alg":"none","alg":"RS256","kid":"first"}').decode().rstrip("=")
        + good()[good().index(".") :],
        "malformed",
    ),
    "claims that were changed": (
        ".".join([good().split(".")[0], good("writer").split(".")[1], good().split(".")[2]]),
        "unknown",
    ),
    "expired": (good(exp=NOW // SECOND - 1), "expired"),
    "expires now": (good(exp=NOW // SECOND), "expired"),
    "no end": (good(exp=None), "malformed"),
    "an end that is text": (good(exp=str(NOW // SECOND + HOUR)), "malformed"),
    "an end that is true": (good(exp=True), "malformed"),
    "an end without end": (good(exp=10**30), "malformed"),
    "an end with a fraction": (good(exp=NOW / SECOND + 60.5), "malformed"),
    "not yet good": (good(nbf=NOW // SECOND + 61), "expired"),
    "no beginning": (good(nbf=None), "malformed"),
    "the API server's audience": (good(aud=["https://kubernetes.default.svc"]), "unknown"),
    "no audience": (good(aud=None), "unknown"),
    "an empty audience": (good(aud=[]), "unknown"),
    "an audience that begins with ours": (good(aud="remit-of-somebody"), "unknown"),
    "an audience that is a mapping": (good(aud={"remit": 1}), "unknown"),
    "another cluster": (good(iss="https://oidc.example/another"), "unknown"),
    "our issuer and a slash": (good(iss=ISSUER + "/"), "unknown"),
    "no issuer": (good(iss=None), "unknown"),
    "a list of issuers": (good(iss=[ISSUER]), "unknown"),
    "no subject": (good(sub=None), "unknown"),
    "a user": (good(sub="system:admin"), "unknown"),
    "an account of another namespace": (good(sub="system:serviceaccount:other:support"), "malformed"),
    "a subject with more": (good(sub="system:serviceaccount:agents:support:x"), "unknown"),
    "a subject with an end of line": (good(sub="system:serviceaccount:agents:support\n"), "unknown"),
    "a subject that its claims deny": (good(sub="system:serviceaccount:agents:payments"), "malformed"),
    "no claims of the cluster": (good(**{"kubernetes.io": None}), "malformed"),
    "a namespace that its subject denies": (good(**bound(namespace="other")), "malformed"),
    "an account that is text": (good(**bound(serviceaccount="support")), "malformed"),
    "a pod without a uid": (good(**bound(pod={"name": "x"})), "malformed"),
    "an account of no agent": (good("nobody"), "unknown"),
    "no token": ("", "missing"),
    "no token's form": ("rmt_something", "unknown"),
    "two parts": (".".join(good().split(".")[:2]), "unknown"),
    "claims that are a list": (FIRST.sign(["x"]), "unknown"),
    "oversize": (good(padding="x" * 8000), "unknown"),
}


@pytest.mark.parametrize("name", ATTACKS)
@in_loop
async def test_what_is_no_token_of_this_cluster_for_us_proves_nobody(name: str) -> None:
    token, cause = ATTACKS[name]
    async with FakeApi().serving() as api:
        identity = CatalogueIdentity(CATALOGUE, FakeClock(), cluster=api.cluster(FakeClock()))
        assert await who(identity, token) == cause
        assert await who(identity, good()) == "support"


@pytest.mark.parametrize("signer", [FIRST, ELLIPTIC], ids=lambda each: each.algorithm)
@in_loop
async def test_a_pods_token_proves_the_agent_of_its_account(signer: Signer) -> None:
    """By either algorithm; with one audience as text or several; a minute before it begins; by how it was proved."""
    async with FakeApi().serving() as api:
        identity = CatalogueIdentity(CATALOGUE, FakeClock(), cluster=api.cluster(FakeClock()))
        for more in ({}, {"aud": AUDIENCE}, {"aud": ["x", AUDIENCE]}, {"nbf": NOW // SECOND + 60}, {"pod": ""}):
            token = good(signer=signer, **more)
            subject = await identity.identify(evidence(token, THERE))
            assert (subject.id, subject.team) == ("support", "cx")
            assert subject.identity.method == "kubernetes"
            assert subject.identity.subject == "system:serviceaccount:agents:support"
        assert api.asked[JWKS] == 1, "the keys are asked for once"


def skipping(part: str) -> Callable[..., Claims]:
    """A planted bug: claims are read without one of the checks."""

    def read(found: dict[str, object], *, issuer: str, audience: str, now: int) -> Claims:
        if part == "audience":
            found = {**found, "aud": audience}
        elif part == "issuer":
            found = {**found, "iss": issuer}
        else:
            found = {**found, "exp": now // SECOND + 60}
        return read_claims(found, issuer=issuer, audience=audience, now=now)

    return read


@pytest.mark.parametrize("part", ["audience", "issuer", "end", "signature"])
@in_loop
async def test_the_attacks_find_a_verifier_that_skips_a_check(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted bugs."""
    if part == "signature":

        def unsigned(token: str, key: object) -> dict[str, object]:
            found = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
            return found if isinstance(found, dict) else {}

        monkeypatch.setattr(identity_kubernetes, "verified", unsigned)
    else:
        monkeypatch.setattr(identity_kubernetes, "read_claims", skipping(part))
    async with FakeApi().serving() as api:
        identity = CatalogueIdentity(CATALOGUE, FakeClock(), cluster=api.cluster(FakeClock()))
        proved = [name for name, (token, _) in ATTACKS.items() if await who(identity, token) in CATALOGUE.agents]
    assert proved, "no attack found it"


# --- the keys


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b'{"keys": []}',
        b'{"keys": {}}',
        b'{"keys": [1]}',
        b'{"keys": [], "keys": [{}]}',
        json.dumps({"keys": [FIRST.public] * 2}).encode(),
        json.dumps({"keys": [{**FIRST.public, "kid": str(n)} for n in range(65)]}).encode(),
        json.dumps({"keys": [FIRST.key.as_dict(private=True) | {"kid": "x"}]}).encode(),
        json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x"}]}).encode(),
        json.dumps({"keys": [{**FIRST.public, "n": "!!"}]}).encode(),
        json.dumps({"keys": [{**FIRST.public, "n": None}]}).encode(),
        json.dumps({"keys": [{"kty": "RSA", "kid": "x", "e": "AQAB"}]}).encode(),
        json.dumps({"keys": [{**FIRST.public, "n": FIRST.public["n"][:171]}]}).encode(),  # of 1024 bits
        json.dumps({"keys": [OTHER_CURVE.public]}).encode(),
        json.dumps({"keys": [{**FIRST.public, "use": "enc"}]}).encode(),
        json.dumps({"keys": [{**OKPKey.generate_key("Ed25519").as_dict(private=False), "kid": "x"}]}).encode(),
        b'{"keys": [' + b"[" * 10_000 + b"]" * 10_000 + b"]}",
        b'{"keys": ["' + b"x" * 300_000 + b'"]}',
    ],
    ids=lambda text: "set",
)
def test_what_is_no_set_of_public_keys_is_refused(text: bytes) -> None:
    with pytest.raises(KeysInvalid):
        read_keys(text)


def test_a_key_that_is_for_something_else_does_no_harm() -> None:
    keys = [
        OTHER_CURVE.public,
        FIRST.public,
        {**FIRST.public, "kid": "enc", "use": "enc"},
        {**FIRST.public, "kid": None},
    ]
    assert set(read_keys(json.dumps({"keys": keys}).encode())) == {"first"}


@in_loop
async def test_a_rotated_key_is_found_and_one_that_was_taken_away_is_forgotten() -> None:
    """With the new keys, what the old one had proved is proved anew, and no longer."""
    clock = FakeClock()
    async with FakeApi().serving() as api:
        cluster = api.cluster(clock)
        identity = CatalogueIdentity(CATALOGUE, clock, cluster=cluster)
        assert await who(identity, good()) == "support"

        api.keys = [SECOND_KEY.public]
        assert await who(identity, good(signer=SECOND_KEY)) == "unknown"  # asked a moment ago
        clock.pass_seconds(10)
        assert await who(identity, good(signer=SECOND_KEY)) == "support"
        assert await who(identity, good()) == "unknown"
        assert api.asked[JWKS] == 2


@in_loop
async def test_made_up_ids_do_not_flood_the_api_server() -> None:
    """However many, and however many at once: it is asked once in ten seconds."""
    clock = FakeClock()
    async with FakeApi().serving() as api:
        identity = CatalogueIdentity(CATALOGUE, clock, cluster=api.cluster(clock))
        for _ in range(3):
            tokens = [by_hand({"alg": "RS256", "kid": f"k{n}"}, {}, b"x" * 256) for n in range(200)]
            assert set(await asyncio.gather(*(who(identity, each) for each in tokens))) == {"unknown"}
        assert api.asked[JWKS] == 1
        clock.pass_seconds(10)
        assert await who(identity, by_hand({"alg": "RS256", "kid": "more"}, {}, b"x" * 256)) == "unknown"
        assert api.asked[JWKS] == 2


@in_loop
async def test_while_the_api_server_is_away_the_keys_of_last_time_are_good_for_a_day() -> None:
    clock = FakeClock()
    async with FakeApi().serving() as api:
        cluster = api.cluster(clock)
        identity = CatalogueIdentity(CATALOGUE, clock, cluster=cluster)
        assert await who(identity, good()) == "support"

        api.away = True
        clock.pass_seconds(KEPT_SECONDS - 1)
        late = FIRST.sign(claims(clock.now()))
        assert await who(identity, late) == "support"
        assert await who(identity, SECOND_KEY.sign(claims(clock.now()))) == "unavailable"
        clock.pass_seconds(1)
        assert await who(identity, late) == "unavailable"

        api.away = False
        clock.pass_seconds(10)
        assert await who(identity, late) == "support"


@pytest.mark.parametrize("wrong", ["away", "keys", "token", "authority", "issuer"])
@in_loop
async def test_where_there_never_were_keys_nobody_is_proved(wrong: str, caplog: pytest.LogCaptureFixture) -> None:
    """Until there are: that is our own failure, told once in the log, and never with a token."""
    clock = FakeClock()
    async with FakeApi().serving() as api:
        good_token, good_ca = (api.place / "token").read_text(), (api.place / "ca.crt").read_bytes()
        api.away, api.answer = wrong == "away", b'{"keys": 7}' if wrong == "keys" else None
        if wrong == "token":
            (api.place / "token").write_text("another-token-of-ours")
        if wrong == "authority":
            (api.place / "ca.crt").write_bytes((Path(__file__).parent / "nothing").name.encode())
        api.issuer = "" if wrong == "issuer" else ISSUER
        identity = CatalogueIdentity(CATALOGUE, clock, cluster=api.cluster(clock))
        assert await who(identity, good()) == "unavailable"
        clock.pass_seconds(1)
        assert await who(identity, good()) == "unavailable"

        api.away, api.answer, api.issuer = False, None, ISSUER
        (api.place / "token").write_text(good_token)
        (api.place / "ca.crt").write_bytes(good_ca)
        clock.pass_seconds(1)
        assert await who(identity, good()) == "support"
    told = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert len(told) == 1
    assert "another-token-of-ours" not in told[0]
    assert good() not in told[0]


@in_loop
async def test_keys_from_a_file_are_those_that_it_has_now(tmp_path: Path) -> None:
    """A ConfigMap that is changed: no API server is needed."""
    clock, file = FakeClock(), tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [FIRST.public]}))
    keys = ClusterKeys(FromFile(file, ISSUER), clock)
    cluster = Cluster(keys, Reviews(None, AUDIENCE, clock), clock, audience=AUDIENCE)
    identity = CatalogueIdentity(CATALOGUE, clock, cluster=cluster)
    assert await who(identity, good()) == "support"
    assert await who(identity, good("payments")) == "unavailable", "nobody can be asked whether it is fresh"

    file.write_text(json.dumps({"keys": [SECOND_KEY.public]}))
    clock.pass_seconds(5)
    await keys.keep()
    assert await who(identity, good()) == "unknown"
    assert await who(identity, good(signer=SECOND_KEY)) == "support"


# --- what is kept


@in_loop
async def test_what_was_proved_once_ends_with_its_token() -> None:
    clock = FakeClock()
    async with FakeApi().serving() as api:
        identity = CatalogueIdentity(CATALOGUE, clock, cluster=api.cluster(clock))
        token = good()
        for seconds, found in ((0, "support"), (HOUR - 1, "support"), (1, "expired")):
            clock.pass_seconds(seconds)
            assert await who(identity, token) == found


@in_loop
async def test_a_binding_is_that_of_the_catalogue_in_force() -> None:
    """What a token proves is kept; whom that is, is not. An account of two agents is nobody's."""
    async with FakeApi().serving() as api:
        identity = CatalogueIdentity(CATALOGUE, FakeClock(), cluster=api.cluster(FakeClock()))
        assert await who(identity, good()) == "support"
        identity.use(Catalogue("EUR", agents={"other": Agent("cx", identity=account("support"))}))
        assert await who(identity, good()) == "other"
        both = {"a": Agent("cx", identity=account("support")), "b": Agent("cx", identity=account("support"))}
        identity.use(Catalogue("EUR", agents=both))
        assert await who(identity, good()) == "ambiguous"
        identity.use(Catalogue("EUR"))
        assert await who(identity, good()) == "unknown"


@in_loop
async def test_outside_a_cluster_such_a_token_is_nobodys() -> None:
    assert await who(CatalogueIdentity(CATALOGUE, FakeClock()), good()) == "unknown"


# --- fresh


@in_loop
async def test_a_deleted_pods_token_is_refused_within_ten_seconds_where_freshness_is_demanded() -> None:
    """The others' is good by its signature until it ends: that is what `fresh` is for."""
    clock = FakeClock()
    async with FakeApi().serving() as api:
        identity = CatalogueIdentity(CATALOGUE, clock, cluster=api.cluster(clock))
        payments, support = good("payments", pod="p"), good(pod="p")
        await asyncio.gather(*(who(identity, payments) for _ in range(50)))
        assert await who(identity, payments) == "payments"
        assert api.asked[REVIEWS] == 1, "asked once for all who wait, and kept"

        api.deleted = {"p"}
        clock.pass_seconds(9.9)
        assert await who(identity, payments) == "payments"
        clock.pass_seconds(0.1)
        assert await who(identity, payments) == "revoked"
        assert await who(identity, support) == "support"


@pytest.mark.parametrize("how", ["away", "forbidden"])
@in_loop
async def test_where_freshness_cannot_be_asked_for_nobody_is_proved(how: str) -> None:
    clock = FakeClock()
    async with FakeApi().serving() as api:
        identity = CatalogueIdentity(CATALOGUE, clock, cluster=api.cluster(clock))
        token = good("payments")
        assert await who(identity, token) == "payments"
        api.away, api.may_review = how == "away", how != "forbidden"
        clock.pass_seconds(10)
        assert await who(identity, token) == "unavailable"
        api.away, api.may_review = False, True
        clock.pass_seconds(1)
        assert await who(identity, token) == "payments"


# --- in a pod


def kubelet(directory: Path, token: str) -> Path:
    """Put a token where the kubelet does: behind links, of which one is turned."""
    n = sum(1 for _ in directory.glob("..2*"))
    new = directory / f"..2026_{n}"
    new.mkdir()
    (new / "token").write_text(token)
    (directory / "..tmp").symlink_to(new.name)
    (directory / "..tmp").replace(directory / "..data")
    if n == 0:
        (directory / "token").symlink_to("..data/token")
    return directory / "token"


def certificate(uri: str) -> PeerCertificate:
    return PeerCertificate((uri,), (), "sha256:" + "0" * 64, 0, 2**63 - 1)


@in_loop
async def test_in_a_pod_all_is_the_pods_agent_and_nothing_else_of_agents_is_taken(tmp_path: Path) -> None:
    clock = FakeClock()
    async with FakeApi().serving() as api:
        own = kubelet(tmp_path, good(pod="mine"))
        cluster = api.cluster(clock, own=own)
        identity = CatalogueIdentity(CATALOGUE, clock, hashed(OPERATOR), cluster)
        await cluster.start()
        assert identity.problem == ""
        pod = await identity.pod()
        assert pod is not None
        assert (pod.id, pod.identity.method) == ("support", "kubernetes")

        assert await who(identity, evidence()) == "support"
        assert await who(identity, Evidence("", None, "unix", near=True)) == "support"
        assert await who(identity, evidence(certificate=certificate("spiffe://mesh/x"))) == "support"
        assert await who(identity, good(pod="mine", jti="rotated")) == "support"
        assert await who(identity, ANA) == "ana"
        assert await who(identity, OPERATOR) == "operator"

        assert await who(identity, evidence(peer=THERE)) == "missing"
        assert await who(identity, good(pod="another")) == "mismatch"
        assert await who(identity, good(pod="")) == "mismatch"
        assert await who(identity, good("payments", pod="another")) == "mismatch"
        assert await who(identity, good("payments", pod="mine")) == "mismatch"
        assert await who(identity, WRITER) == "mismatch"
        assert await who(identity, evidence(certificate=certificate("spiffe://x/writer"))) == "mismatch"
        assert await who(identity, "sk-nobody") == "unknown"
        assert await who(identity, good(pod="mine", aud="another")) == "unknown"


@in_loop
async def test_a_rotated_token_of_the_pod_is_taken_and_one_that_ended_makes_the_pod_nobody(tmp_path: Path) -> None:
    clock = FakeClock()
    async with FakeApi().serving() as api:
        own = kubelet(tmp_path, good(pod="mine"))
        cluster = api.cluster(clock, own=own)
        identity = CatalogueIdentity(CATALOGUE, clock, cluster=cluster)
        await cluster.start()

        clock.pass_seconds(HOUR - 60)
        kubelet(tmp_path, FIRST.sign(claims(clock.now(), pod="mine")))
        await cluster._look()
        clock.pass_seconds(61)
        assert await who(identity, evidence()) == "support"

        kubelet(tmp_path, "no token at all")
        await cluster._look()
        assert await who(identity, evidence()) == "support", "what is no token does not replace one"
        assert "proves nobody" in cluster.problem

        clock.pass_seconds(HOUR)
        assert await who(identity, evidence()) == "expired"
        assert await who(identity, FIRST.sign(claims(clock.now(), pod="mine"))) == "expired"
        with pytest.raises(Unauthenticated):
            await identity.pod()
        kubelet(tmp_path, FIRST.sign(claims(clock.now(), pod="mine")))
        await cluster._look()
        assert await who(identity, evidence()) == "support"
        assert cluster.problem == ""


@pytest.mark.parametrize("wrong", ["none", "empty", "another audience", "no pod", "no agent", "no keys", "huge"])
@in_loop
async def test_a_pod_whose_token_proves_no_agent_is_nobody_and_not_ready(wrong: str, tmp_path: Path) -> None:
    clock = FakeClock()
    made = {
        "empty": "",
        "another audience": good(aud="x"),
        "no pod": good(pod=""),
        "no agent": good("nobody", pod="mine"),
        "no keys": good(pod="mine"),
        "huge": "x" * 20_000,
    }
    async with FakeApi(away=wrong == "no keys").serving() as api:
        own = tmp_path / "token" if wrong == "none" else kubelet(tmp_path, made[wrong])
        cluster = api.cluster(clock, own=own)
        identity = CatalogueIdentity(CATALOGUE, clock, hashed(OPERATOR), cluster)
        await cluster.start()
        assert identity.problem
        assert await who(identity, evidence()) in ("missing", "unknown", "malformed", "unavailable")
        assert await who(identity, good(pod="mine")) not in ("support",)
        assert await who(identity, WRITER) != "writer"
        assert await who(identity, OPERATOR) == "operator", "people can still look"

        api.away = False
        clock.pass_seconds(1)
        kubelet(tmp_path, good(pod="mine")) if wrong != "none" else own.write_text(good(pod="mine"))
        await cluster._look()
        assert identity.problem == ""
        assert await who(identity, evidence()) == "support"


@in_loop
async def test_a_fresh_pod_that_is_deleted_is_nobody(tmp_path: Path) -> None:
    """Also where it shows nothing: the pod's own token is what is reviewed."""
    clock = FakeClock()
    async with FakeApi().serving() as api:
        own = kubelet(tmp_path, good("payments", pod="mine"))
        cluster = api.cluster(clock, own=own)
        identity = CatalogueIdentity(CATALOGUE, clock, cluster=cluster)
        await cluster.start()
        assert await who(identity, evidence()) == "payments"
        api.deleted = {"mine"}
        clock.pass_seconds(10)
        assert await who(identity, evidence()) == "revoked"
