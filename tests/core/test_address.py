"""Which addresses may be dialled, and which hosts are addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.core.egress.address import NotCanonical, classify, literal, may_dial
from ruamel.yaml import YAML

CASES: dict[str, dict[str, Any]] = YAML(typ="safe", pure=True).load(
    Path(__file__).parents[1] / "cases" / "address_vectors.yaml"
)


@pytest.mark.parametrize(("ip", "kind"), CASES["addresses"].items())
def test_each_address_is_what_the_registries_say(ip: str, kind: str) -> None:
    """And only a public one may be dialled, the reason naming what another one is."""
    assert classify(ip) == kind
    assert (may_dial(ip) == "") == (kind == "public")
    assert kind == "public" or may_dial(ip).endswith(f" is {kind}")


@pytest.mark.parametrize(("host", "want"), CASES["hosts"].items())
def test_a_host_is_an_address_a_name_or_refused(host: str, want: str | None) -> None:
    """Whatever some resolver may read as a number is refused unless it is written as we write it."""
    try:
        found = literal(host)
    except NotCanonical:
        found = "no"

    assert found == want


@given(st.ip_addresses())
def test_every_address_that_may_be_dialled_is_global_to_the_standard_library_too(ip: Any) -> None:
    """An oracle that was made by others: we are never laxer."""
    assert may_dial(str(ip)) or (ip.is_global and not ip.is_multicast)


@pytest.mark.parametrize(
    ("ip", "allowed", "opens"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("11.1.2.3", "10.0.0.0/8", True),
        ("192.168.1.1", "10.0.0.0/8", False),
        ("127.0.0.1", "127.0.0.1/32", True),
        ("::1", "::1/128", True),
        ("::1", "127.0.0.1/32", False),
        ("fd00::5", "fd00::/8", True),
        ("169.254.169.254", "169.254.0.0/16", False),
        ("169.254.169.254", "169.254.169.254/32", True),
        ("fd00:ec2::254", "fd00::/8", False),
        ("0.0.0.0", "0.0.0.0/0", False),
        ("224.0.0.1", "0.0.0.0/0", False),
        ("255.255.255.255", "255.255.255.255/32", False),
        ("::ffff:10.0.0.1", "10.0.0.0/8", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1/128", True),
        ("64:ff9b::a00:1", "64:ff9b::/96", True),
        ("64:ff9b::a9fe:a9fe", "64:ff9b::/96", False),
        ("::ffff:0.0.0.0", "::ffff:0:0/96", False),
    ],
)
def test_the_catalogue_opens_what_it_names_and_nothing_else(ip: str, allowed: str, opens: bool) -> None:
    """Networks of the same family; a metadata address only by itself; what cannot be dialled never."""
    assert (may_dial(ip, [allowed]) == "") == opens


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "fe80::1%eth0", "127.0.0.01", "10.0.0.1/8", " 8.8.8.8"])
def test_what_is_no_address_is_never_dialled(text: str) -> None:
    """Whatever is allowed."""
    assert may_dial(text, ["0.0.0.0/0", "::/0"]) == "not an IP address"
