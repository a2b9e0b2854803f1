"""Names are resolved within seconds, and no address is dialled that the catalogue does not let be."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from fakes.loop import in_loop
from remit.backends.endpoint_addresses import EndpointAddresses
from remit.backends.resolver_system import SystemResolver
from remit.core.catalogue import Catalogue, Endpoint, Service
from remit.ports import NotResolved


@dataclass
class Names:
    """The port Resolver over a table."""

    table: dict[str, Sequence[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def resolve(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.table:
            raise NotResolved(f"{host} cannot be resolved: no such name")
        return self.table[host]


def catalogue(**urls: str | Endpoint) -> Catalogue:
    endpoints = {name: url if isinstance(url, Endpoint) else Endpoint(url) for name, url in urls.items()}
    return Catalogue("EUR", services={"s": Service(owner="x", endpoints=endpoints)})


@in_loop
async def test_only_addresses_that_may_be_dialled_are_told_and_the_others_say_why() -> None:
    names = Names({"out.example": ["104.16.0.1", "2606:4700::1"], "mixed.example": ["10.0.0.1", "104.16.0.2"]})
    names.table |= {"in.example": ["10.0.0.1"], "meta.example": ["169.254.169.254"], "none.example": []}
    table = EndpointAddresses(names)
    wanted = catalogue(
        out="https://out.example/v1",
        mixed="https://mixed.example:8443",
        inside="https://in.example",
        meta="http://meta.example",
        none="https://none.example",
        gone="https://gone.example",
        named=Endpoint("http://in.example", addresses=("10.0.0.0/8",)),
        noport="tcp://out.example",
    )
    assert table.problem("s", "out") == "the endpoint was not resolved yet"
    assert await table.refresh(wanted)
    assert {place: found for (_, place), found in table.addresses.items()} == {
        "out": (("104.16.0.1", 443), ("2606:4700::1", 443)),
        "mixed": (("104.16.0.2", 8443),),
        "inside": (),
        "meta": (),
        "none": (),
        "gone": (),
        "named": (("10.0.0.1", 80),),
        "noport": (),
    }
    assert table.problem("s", "out") == table.problem("s", "mixed") == table.problem("s", "named") == ""
    assert table.problem("s", "inside") == (
        "in.example: 10.0.0.1 is private, and the endpoint's `addresses` do not name it"
    )
    assert table.problem("s", "meta").startswith("meta.example: 169.254.169.254 is metadata")
    assert table.problem("s", "none") == "none.example has no address"
    assert table.problem("s", "gone") == "gone.example cannot be resolved: no such name"
    assert table.problem("s", "noport") == "the endpoint's URL names no host and port"
    assert len(names.asked) == len(set(names.asked))
    assert not await table.refresh(wanted)


@in_loop
async def test_a_literal_address_in_a_url_is_that_address_and_no_name() -> None:
    names = Names()
    table = EndpointAddresses(names)
    await table.refresh(catalogue(four="http://10.1.2.3:99", six="https://[fd00::1]/v1", never="http://0.0.0.0:1"))
    assert table.addresses[("s", "four")] == (("10.1.2.3", 99),)
    assert table.addresses[("s", "six")] == (("fd00::1", 443),)
    assert table.addresses[("s", "never")] == ()
    assert not names.asked


@in_loop
async def test_a_name_that_was_judged_keeps_its_addresses_while_its_server_is_silent_and_loses_bad_ones() -> None:
    names = Names({"a.example": ["104.16.0.1"]})
    table, wanted = EndpointAddresses(names), catalogue(a="https://a.example")
    await table.refresh(wanted)
    del names.table["a.example"]
    assert not await table.refresh(wanted)
    assert table.addresses[("s", "a")] == (("104.16.0.1", 443),)
    names.table["a.example"] = ["127.0.0.1"]
    assert await table.refresh(wanted)
    assert table.addresses[("s", "a")] == ()


@in_loop
async def test_an_endpoint_whose_host_has_changed_is_not_dialled_where_the_one_before_was() -> None:
    """Nor at its port, nor in a network that is not listed any more, whether or not the name's server answers."""
    names = Names({"a.example": ["104.16.0.1"], "in.example": ["10.0.0.1"]})
    table = EndpointAddresses(names)
    await table.refresh(catalogue(a="https://a.example", b=Endpoint("http://in.example", addresses=("10.0.0.0/8",))))
    names.table.clear()
    await table.refresh(catalogue(a="https://b.example", b="http://in.example"))
    assert set(table.addresses.values()) == {()}
    assert table.problem("s", "a") == "b.example cannot be resolved: no such name"
    assert "10.0.0.1 is private" in table.problem("s", "b")
    await table.refresh(catalogue(a="https://a.example:8443"))
    assert table.addresses[("s", "a")] == (("104.16.0.1", 8443),)


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "127.1", "0177.0.0.1", "localhost"])
@in_loop
async def test_no_other_way_of_writing_loopback_gets_there(host: str) -> None:
    table = EndpointAddresses(SystemResolver())
    await table.refresh(catalogue(a=f"http://{host}:80"))
    assert table.addresses[("s", "a")] == ()
    assert table.problem("s", "a")


@in_loop
async def test_a_name_is_resolved_to_distinct_addresses_in_order_and_not_without_end() -> None:
    many = [f"10.0.{n // 256}.{n % 256}" for n in range(1000)]
    resolver = SystemResolver(look=lambda host: ["fd00::1", "10.0.0.9", *reversed(many), "10.0.0.9"])
    found = await resolver.resolve("many.example")
    assert list(found) == many[:64]
    assert list(await SystemResolver(look=lambda host: ["::1", "10.0.0.9", "9.9.9.9"]).resolve("a")) == [
        "9.9.9.9",
        "10.0.0.9",
        "::1",
    ]


@in_loop
async def test_a_lookup_that_hangs_ends_in_time_and_is_not_begun_again_beside_itself() -> None:
    hang, begun = threading.Event(), []

    def look(host: str) -> Sequence[str]:
        begun.append(host)
        hang.wait()
        return ["9.9.9.9"]

    resolver = SystemResolver(look=look, seconds=0.05)
    since = time.monotonic()
    for _ in range(3):
        with pytest.raises(NotResolved, match="was not resolved within"):
            await resolver.resolve("slow.example")
    assert time.monotonic() - since < 2
    assert begun == ["slow.example"]
    waiting = asyncio.create_task(SystemResolver(look=look, seconds=5).resolve("slow.example"))
    hang.set()
    assert list(await waiting) == ["9.9.9.9"]


@in_loop
async def test_a_name_that_cannot_be_resolved_says_so() -> None:
    def look(host: str) -> Sequence[str]:
        raise OSError(2, "no such name")

    with pytest.raises(NotResolved, match=r"a\.example cannot be resolved: no such name"):
        await SystemResolver(look=look).resolve("a.example")
    with pytest.raises(NotResolved):
        await SystemResolver().resolve("a..example" + "x" * 70)
    assert "127.0.0.1" in await SystemResolver().resolve("localhost")
