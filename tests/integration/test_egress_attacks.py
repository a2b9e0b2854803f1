"""What is asked for, as text: targets, authorities and addresses, through the real listeners by raw sockets.

None reaches an upstream but those that may, and each refusal has its reason: the sidecar's in words, or Envoy's own
400 or 403. Sources: tests/cases/url_vectors.yaml and address_vectors.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes.egress_stage import PROXY_TOKEN, TOKEN, Heard, Stage, reason, request, stage, talk

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

CASES = Path(__file__).parents[1] / "cases"
URLS = yaml.safe_load((CASES / "url_vectors.yaml").read_text())
ADDRESSES = yaml.safe_load((CASES / "address_vectors.yaml").read_text())
MAPPED = {"/v1/items/", "/v1/items?limit=2&after=a%2Fb", "/v1/items?q=100%25&r=caf%C3%A9"}
"""Of the targets that are well formed, those that the service's routes know."""
SIDECAR = {"request_malformed", "request_unmapped", "unknown_resource", "unauthenticated"}


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("stage")) as made:
        yield made


def is_refused(heard: Heard) -> bool:
    """Whether it says no with a reason: the sidecar's, or Envoy's status; or hangs up on what is no HTTP."""
    if heard.status in (400, 401, 403, 404, 503):
        return heard.status == 400 or reason(heard) in SIDECAR or b"did not let" in heard.raw or heard.status == 404
    return heard.raw == b"" and heard.closed


def arrived(on: Stage) -> int:
    return len(on.api.got) + len(on.plain.got) + len(on.api.wild) + len(on.plain.wild)


@pytest.mark.parametrize("case", URLS["targets"], ids=lambda case: repr(case["given"]))
def test_a_target_that_two_readers_might_read_differently_goes_nowhere(on: Stage, case: dict[str, str]) -> None:
    """Below a service, below the forward proxy's base, and as the whole target."""
    given, want = case["given"], case["want"]
    on.page()
    below = talk(on.egress, request(f"/api{given}"))
    bare = talk(on.egress, request(given))
    url = f"http://localhost:{on.plain.port}/base{given}"
    proxied = talk(on.proxy, request(url, host=f"localhost:{on.plain.port}", headers=PROXY_TOKEN))
    if given in MAPPED:
        assert (below.status, len(on.api.got)) == (200, 1)
        assert on.api.got[0].target == f"/base{given}"
    else:
        assert is_refused(below), below
    assert is_refused(bare), bare
    assert is_refused(proxied), proxied
    if want and below.status == 403 and given.startswith("/") and b"did not let" not in below.raw:
        assert want.encode() in below.raw, below
    assert arrived(on) == (given in MAPPED)
    assert on.reckon() == []


@pytest.mark.parametrize("case", URLS["authorities"], ids=lambda case: repr(case["given"]))
def test_an_authority_that_is_not_a_declared_endpoint_is_asked_nothing(on: Stage, case: dict[str, str]) -> None:
    """As an absolute target, as a host, and for a tunnel."""
    given = case["given"]
    on.page()
    before = on.wire.connections, on.shut.connections
    answers = [
        talk(on.proxy, request(f"http://{given}/base/v1/items/3", host=given, headers=PROXY_TOKEN)),
        talk(on.proxy, request("/base/v1/items/3", host=given, headers=PROXY_TOKEN)),
        talk(on.proxy, request(given, "CONNECT", host=given, headers=PROXY_TOKEN)),
    ]
    assert [each for each in answers if not is_refused(each)] == []
    assert arrived(on) == 0
    assert (on.wire.connections, on.shut.connections) == before
    assert on.reckon() == []


def _authorities() -> list[str]:
    literals = [f"[{each}]" if ":" in each else str(each) for each in ADDRESSES["addresses"]]
    return [*literals, *(str(each) for each in ADDRESSES["hosts"] if each not in ("127.0.0.1", "localhost"))]


@pytest.mark.parametrize("host", _authorities())
def test_an_address_in_whatever_writing_is_no_way_round_a_name(on: Stage, host: str) -> None:
    """At the ports of real upstreams, one of them open to tunnels: only the declared name leads there."""
    on.page()
    before = on.wire.connections, on.shut.connections
    plain, tunnel = f"{host}:{on.plain.port}", f"{host}:{on.wire.port}"
    answers = [
        talk(on.proxy, request(f"http://{plain}/base/v1/items/3", host=plain, headers=PROXY_TOKEN)),
        talk(on.proxy, request(tunnel, "CONNECT", host=tunnel, headers=PROXY_TOKEN)),
        talk(on.egress, request("/base/v1/items/3", host=plain)),
    ]
    assert [each for each in answers if not is_refused(each)] == []
    assert arrived(on) == 0
    assert (on.wire.connections, on.shut.connections) == before
    assert on.reckon() == []


def test_the_declared_names_do_lead_there(on: Stage) -> None:
    """Else the tests above would hold of a sidecar that refuses everything."""
    on.page()
    host = f"localhost:{on.plain.port}"
    assert talk(on.proxy, request(f"http://{host}/base/v1/items/3", host=host, headers=PROXY_TOKEN)).status == 200
    assert len(on.plain.got) == 1
    tunnel = f"localhost:{on.wire.port}"
    opened = talk(on.proxy, f"CONNECT {tunnel} HTTP/1.1\r\nhost: {tunnel}\r\n{PROXY_TOKEN}\r\n".encode())
    assert opened.status == 200
    assert on.reckon() == []


def test_the_reckoning_notices_a_request_that_went_round_the_sidecar(on: Stage) -> None:
    """The planted weakness: the upstream is dialled directly, with what would be allowed, and with what is no HTTP."""
    on.page()
    direct = f"GET /base/v1/items/3 HTTP/1.1\r\nhost: x\r\n{TOKEN}\r\n".encode()
    assert talk(on.api.port, direct).status == 200
    assert [each.partition(":")[0] for each in on.reckon()] == ["without a decision"]
    on.page()
    assert talk(on.egress, request("/api/v1/items/3")).status == 200
    talk(on.api.port, b"GET /base/v1/items/3\r\n\r\n", whole=0.5)
    found = on.reckon()
    assert [each.partition(":")[0] for each in found] == ["bytes that are no request"]


def test_the_reckoning_notices_two_requests_for_one_decision(on: Stage) -> None:
    """The same request, twice at the upstream, once in the journal."""
    on.page()
    assert talk(on.egress, request("/api/v1/items/3")).status == 200
    on.api.got.append(on.api.got[0])
    assert len(on.reckon()) == 1


def test_a_refusal_is_recorded_with_its_reason(on: Stage) -> None:
    """The decision that the answer names is in the journal, denied, and says why."""
    on.page()
    heard = talk(on.egress, request("/api/v1/../admin"))
    decision = heard.raw.partition(b"remit-decision: ")[2].partition(b"\r\n")[0].decode()
    found: list[Any] = [each for each in on.fresh() if each.id == decision]
    assert len(found) == 1
    assert found[0].body["effect"] == "DENY"
    assert "request_malformed" in str(found[0].body["reasons"])
