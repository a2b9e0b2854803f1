"""Which addresses may be dialled: public unicast ones, and those that the catalogue names; nothing by default.

The classes are those of the IANA special-purpose registries (RFC 6890 and its updates), plus where clouds keep their
metadata. An IPv6 address that embeds an IPv4 one is a way around any list of IPv4 addresses: it is refused as such,
and its class says what it embeds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PUBLIC = "public"
# Nothing can be reached there by a connection, or it means the machine itself: not even the catalogue opens them.
_NEVER = frozenset(["unspecified", "multicast", "broadcast"])
_CLASSES: dict[str, tuple[str, ...]] = {
    "metadata": (
        "169.254.169.254/32",
        "169.254.170.2/32",  # Amazon ECS
        "169.254.170.23/32",  # Amazon EKS pod identity
        "fd00:ec2::254/128",
        "fd00:ec2::23/128",
        "fd20:ce::254/128",  # Google
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure
        "192.0.0.192/32",  # Oracle
    ),
    "unspecified": ("0.0.0.0/32", "::/128"),
    "this_network": ("0.0.0.0/8",),
    "loopback": ("127.0.0.0/8", "::1/128"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    "shared": ("100.64.0.0/10",),
    "link_local": ("169.254.0.0/16", "fe80::/10"),
    "unique_local": ("fc00::/7",),
    "site_local": ("fec0::/10",),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "broadcast": ("255.255.255.255/32",),
    "documentation": ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
    "benchmark": ("198.18.0.0/15", "2001:2::/48"),
    "discard": ("100::/64", "100:0:0:1::/64"),
    "orchid": ("2001:10::/28", "2001:20::/28"),
    "segment_routing": ("5f00::/16",),
    "relay_6to4": ("192.88.99.0/24",),
    "reserved": ("240.0.0.0/4", "192.0.0.0/24", "2001::/23"),
}
_EMBEDDING: dict[str, tuple[str, Callable[[int], int]]] = {
    "ipv4_mapped": ("::ffff:0:0/96", lambda bits: bits),
    "ipv4_translated": ("::ffff:0:0:0/96", lambda bits: bits),
    "ipv4_compatible": ("::/96", lambda bits: bits),
    "nat64": ("64:ff9b::/96", lambda bits: bits),
    "nat64_local": ("64:ff9b:1::/48", lambda bits: bits),
    "6to4": ("2002::/16", lambda bits: bits >> 80),
    "teredo": ("2001::/32", lambda bits: ~bits),
}
_TABLE: tuple[tuple[Network, str], ...] = tuple(
    sorted(
        [(ip_network(text), name) for name, texts in _CLASSES.items() for text in texts]
        + [(ip_network(text), name) for name, (text, _) in _EMBEDDING.items()],
        key=lambda each: -each[0].prefixlen,
    )
)
_GLOBAL = IPv6Network("2000::/3")
_ISATAP = frozenset([0x00005EFE, 0x02005EFE])  # RFC 5214: the interface identifier's first half
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


class NotCanonical(ValueError):
    """A host that some resolver reads as an IP address, in another way of writing than the one that is accepted."""

    def __init__(self, expected: str) -> None:
        super().__init__(f"expected {expected}")
        self.expected = expected


def classify(ip: str) -> str:
    """`public`, or what else the address is; of one that embeds an IPv4 address, `nat64 of loopback`.

    Raises ValueError for anything that is not one address without a zone.
    """
    return _class(_parse(ip))


def may_dial(ip: str, allowed: Sequence[str] = ()) -> str:
    """Why the address may not be dialled, "" if it may.

    `allowed` are networks (CIDR) that the catalogue names: they open what is refused otherwise, except unspecified,
    multicast and broadcast addresses. A metadata address must be named by itself (/32 or /128): the network around it
    does not open it. An IPv4 network opens no IPv6 address that embeds one of its own.
    """
    try:
        address = _parse(ip)
    except ValueError:
        return "not an IP address"
    kind = _class(address)
    innermost = kind.rpartition(" of ")[2]
    if kind == PUBLIC or (innermost not in _NEVER and _named(address, allowed, whole=innermost == "metadata")):
        return ""
    return f"{address} is {kind}"


def literal(host: str) -> str | None:
    """The host's IP address, without brackets, where it is one in the canonical form; None where it is a name.

    Raises NotCanonical for what is neither for certain: other writings of numbers (`0x7f.1`, `127.1`, `2130706433`),
    IPv6 that is not as RFC 5952 has it or embeds an IPv4 address, zones, escapes, a trailing dot, non-ASCII.
    """
    if not host.isascii() or "%" in host:
        raise NotCanonical("ASCII without escapes or zones")
    if host.endswith("."):
        raise NotCanonical("no trailing dot")
    if any(each in host for each in ":[]"):
        return _literal_6(host)
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return None
    try:
        return str(IPv4Address(host))
    except AddressValueError as error:
        raise NotCanonical("an IPv4 address as four decimal numbers") from error


def _literal_6(host: str) -> str:
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = IPv6Address(inner)
    except AddressValueError as error:
        raise NotCanonical("an IPv6 address") from error
    if address.ipv4_mapped is not None:
        raise NotCanonical("the IPv4 address itself, not embedded in IPv6")
    if str(address) != inner:
        raise NotCanonical("an IPv6 address in its shortest form (RFC 5952)")
    return inner


def _parse(ip: str) -> Address:
    if "%" in ip:
        raise ValueError("expected an address without a zone")
    return ip_address(ip)


def _class(address: Address) -> str:
    for network, name in _TABLE:
        if address.version == network.version and address in network:
            return _embedding(name, address) if name in _EMBEDDING else name
    if isinstance(address, IPv6Address):
        if address not in _GLOBAL:
            return "reserved"
        if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
            return f"isatap of {_class(IPv4Address(int(address) & 0xFFFFFFFF))}"
    return PUBLIC


def _embedding(name: str, address: Address) -> str:
    _, inner = _EMBEDDING[name]
    return f"{name} of {_class(IPv4Address(inner(int(address)) & 0xFFFFFFFF))}"


def _named(address: Address, allowed: Sequence[str], *, whole: bool) -> bool:
    networks = (ip_network(each, strict=False) for each in allowed)
    return any(
        each.version == address.version and address in each and (not whole or each.num_addresses == 1)
        for each in networks
    )
