"""What Envoy is told, judged by Envoy itself: every kind of service, and nothing that the catalogue does not say."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.backends.envoy_binary import find
from remit.backends.envoy_config import Documents, combined, documents, listening, system_authorities, versions
from remit.backends.envoy_places import BOOTSTRAP, CLUSTERS, LISTENERS, Addresses, EgressPlaces, endpoints_file
from remit.backends.envoy_process import EnvoyFailed, validate
from remit.config.services import KINDS
from remit.core.catalogue import Catalogue, Endpoint, Service
from remit.core.egress.routing import EGRESS, PROXY, ROUTE_HEADER, TCP, route, terms_of

pytestmark = pytest.mark.envoy

NONCE = "0123456789abcdef"
EVERYTHING = Catalogue(
    "EUR",
    services={
        **{
            kind: Service(
                owner="cx",
                kind=kind,
                endpoints={
                    "eu": Endpoint(f"https://{kind}.eu.example/base/v1"),
                    "us": Endpoint(f"https://{kind}.us.example:8443"),
                },
            )
            for kind in KINDS
            if kind not in ("tcp", "grpc")
        },
        "grpc": Service(
            owner="cx",
            kind="grpc",
            endpoints={"tls": Endpoint("grpcs://g.example"), "plain": Endpoint("grpc://g.example:50051")},
        ),
        "plain": Service(owner="cx", endpoints={"here": Endpoint("http://plain.example")}, body_bytes=4096),
        "six": Service(owner="cx", endpoints={"here": Endpoint("https://[2606:4700::1111]/v1")}),
        "opaque.one": Service(owner="cx", opaque=True, endpoints={"a-b": Endpoint("https://opaque.example")}),
        "clock": Service(owner="cx", kind="mcp", command=("clock-server",)),
        "redis": Service(
            owner="cx", kind="tcp", listen="127.0.0.1:7460", endpoints={"m": Endpoint("tcp://redis.example:6379")}
        ),
        "kafka": Service(
            owner="cx", kind="tcp", listen="localhost:7461", endpoints={"m": Endpoint("tcp://kafka.example:9092")}
        ),
    },
)
ADDRESSES: Addresses = {
    ("openai", "eu"): (("104.16.0.1", 443), ("2606:4700::1", 443)),
    ("six", "here"): (("2606:4700::1111", 443),),
    ("redis", "m"): (("10.0.0.9", 6379),),
}


@pytest.fixture
def places(tmp_path: Path) -> EgressPlaces:
    return EgressPlaces(tmp_path, authorities=system_authorities(), access_log=True)


def judge(found: Documents, directory: Path) -> None:
    path = directory / "whole.json"
    path.write_text(json.dumps(combined(found)))
    asyncio.run(validate(find(os.environ).path, path))


def test_envoy_accepts_what_it_is_told_of_every_kind_of_service(places: EgressPlaces, tmp_path: Path) -> None:
    judge(documents(EVERYTHING, places, ADDRESSES, NONCE), tmp_path)


def test_envoy_accepts_an_empty_catalogue_and_no_listener_for_agents(tmp_path: Path) -> None:
    judge(documents(Catalogue("EUR"), EgressPlaces(tmp_path, None, None), {}, NONCE), tmp_path)


def test_envoy_refuses_a_document_that_is_wrong(places: EgressPlaces, tmp_path: Path) -> None:
    found = dict(documents(EVERYTHING, places, ADDRESSES, NONCE))
    found[CLUSTERS] = json.loads(json.dumps(found[CLUSTERS]))
    found[CLUSTERS]["resources"][0]["connect_timeout"] = "soon"
    with pytest.raises(EnvoyFailed):
        judge(found, tmp_path)


def test_the_same_catalogue_gives_the_same_documents_in_whatever_order_it_is_written(places: EgressPlaces) -> None:
    turned = Catalogue("EUR", services=dict(reversed(EVERYTHING.services.items())))
    found = documents(EVERYTHING, places, ADDRESSES, NONCE)
    assert json.dumps(found) == json.dumps(documents(turned, places, ADDRESSES, NONCE))


def test_services_do_not_change_the_listeners_so_a_reload_leaves_their_streams_alone(places: EgressPlaces) -> None:
    one = documents(Catalogue("EUR", services={"plain": EVERYTHING.services["plain"]}), places, {}, NONCE)
    other = documents(Catalogue("EUR"), places, {}, NONCE)
    assert one[LISTENERS] == other[LISTENERS]
    assert one[CLUSTERS]["version_info"] != other[CLUSTERS]["version_info"]


def routes(found: Documents, listener: str) -> list[dict[str, object]]:
    (configuration,) = found[f"rds-{listener}.json"]["resources"]
    return [each for host in configuration["virtual_hosts"] for each in host["routes"]]


@pytest.mark.parametrize("listener", [EGRESS, PROXY, TCP])
def test_every_route_to_an_upstream_asks_for_the_sidecars_word(places: EgressPlaces, listener: str) -> None:
    found = routes(documents(EVERYTHING, places, ADDRESSES, NONCE), listener)
    leading = [each for each in found if "route" in each]
    assert leading
    words = {
        route(NONCE, name, place, terms_of(each, place))
        for name, each in EVERYTHING.services.items()
        for place in each.endpoints
    }
    for each in leading:
        match, action = each["match"], each["route"]
        assert isinstance(match, dict) and isinstance(action, dict)
        (asked,) = match["headers"]
        assert asked["name"] == ROUTE_HEADER
        word = asked["string_match"]["exact"]
        assert word in words
        assert action["cluster"].removeprefix("raw/") == word.removeprefix(f"{NONCE}/")
        assert ROUTE_HEADER in each["request_headers_to_remove"]  # type: ignore[operator]
        assert not {"retry_policy", "internal_redirect_policy", "weighted_clusters"} & action.keys()


@pytest.mark.parametrize("listener", [EGRESS, PROXY, TCP])
def test_whatever_no_route_takes_is_refused(places: EgressPlaces, listener: str) -> None:
    found = routes(documents(EVERYTHING, places, ADDRESSES, NONCE), listener)
    assert found[-1]["match"] == {"prefix": "/"} and "direct_response" in found[-1]


def test_a_name_is_verified_whatever_address_it_was_found_at(places: EgressPlaces) -> None:
    found = documents(EVERYTHING, places, ADDRESSES, NONCE)
    told = {
        each["name"].rpartition("/")[0]: each.get("transport_socket", {}).get("typed_config")
        for each in found[CLUSTERS]["resources"]
    }
    openai = told["openai/us"]
    assert openai["sni"] == "openai.us.example"
    (name,) = openai["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert name == {"san_type": "DNS", "matcher": {"exact": "openai.us.example"}}
    (literal,) = told["six/here"]["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert literal == {"san_type": "IP_ADDRESS", "matcher": {"exact": "2606:4700::1111"}}
    assert "sni" not in told["six/here"]
    assert told["plain/here"] is None


def test_authorities_are_found_from_wherever_envoy_runs(
    places: EgressPlaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path is relative to where the sidecar runs; Envoy runs in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.pem").write_bytes(Path(system_authorities()).read_bytes())
    own = Catalogue(
        "EUR", services={"s": Service(owner="x", endpoints={"e": Endpoint("https://up.example", ca="own.pem")})}
    )
    found = documents(own, places, {}, NONCE)
    assert str(tmp_path / "own.pem") in json.dumps(found[CLUSTERS])
    (tmp_path / "elsewhere").mkdir()
    judge(found, tmp_path / "elsewhere")


def test_envoy_is_given_addresses_and_resolves_nothing(places: EgressPlaces) -> None:
    found = documents(EVERYTHING, places, ADDRESSES, NONCE)
    assert {each["type"] for each in found[CLUSTERS]["resources"]} == {"EDS"}
    (assigned,) = found[endpoints_file(("openai", "eu"), EVERYTHING.services["openai"])]["resources"]
    (host,) = assigned["endpoints"][0]["lb_endpoints"]
    assert host["endpoint"]["address"]["socket_address"]["address"] == "104.16.0.1"
    assert len(host["endpoint"]["additional_addresses"]) == 1
    (none,) = found[endpoints_file(("openai", "us"), EVERYTHING.services["openai"])]["resources"]
    assert none["endpoints"] == []


def test_agents_reach_nothing_but_loopback_addresses(places: EgressPlaces) -> None:
    found = documents(EVERYTHING, places, ADDRESSES, NONCE)
    assert {host for host, _ in listening(found).values()} == {"127.0.0.1"}
    assert {port for _, port in listening(found).values()} == {7452, 7453, 7460, 7461}
    assert "pipe" in found[BOOTSTRAP]["admin"]["address"]


def test_the_versions_cover_every_document_but_the_bootstrap(places: EgressPlaces) -> None:
    found = documents(EVERYTHING, places, ADDRESSES, NONCE)
    wanted = {str(each["version_info"]) for name, each in found.items() if name != BOOTSTRAP}
    assert set(versions(found).values()) == wanted


def test_the_systems_authorities_are_a_file_that_can_be_loaded() -> None:
    ssl.create_default_context(cafile=system_authorities())


ids = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True)


@given(st.dictionaries(ids, st.sets(ids, min_size=1, max_size=3), min_size=1, max_size=4))
def test_no_two_endpoints_share_a_word_a_cluster_or_a_file(found: dict[str, set[str]]) -> None:
    services = {
        name: Service(owner="x", endpoints={each: Endpoint("https://a.example") for each in places})
        for name, places in found.items()
    }
    made = documents(Catalogue("EUR", services=services), EgressPlaces(Path("/x")), {}, NONCE)
    count = sum(map(len, found.values()))
    assert len({each["name"] for each in made[CLUSTERS]["resources"]}) == count
    assert sum(name.startswith("eds-") for name in made) == count
    words = [
        each["match"]["headers"][0]["string_match"]["exact"]  # type: ignore[index]
        for each in routes(made, EGRESS)
        if "route" in each
    ]
    assert len(set(words)) == count
