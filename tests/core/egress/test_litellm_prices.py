"""LiteLLM's reported budget bugs that lie in the arithmetic of prices and usage: none of them holds here.

Those of its counters and reservations are the ledger's to rule out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from remit.config.price_table import prices_of
from remit.core.catalogue import Catalogue, Price, Service, Variant
from remit.core.egress.usage import make_reader
from remit.core.errors import BadRequest
from remit.core.price import cost, estimate

USD = 10**9
NOW = int(datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()) * USD


def catalogue(*prices: Price) -> Catalogue:
    service = Service(kind="openai", variants={"v": Variant()})
    return Catalogue("USD", services={"s": service}, table=prices)


def reserved(listed: Catalogue, usage: Any) -> int | None:
    return estimate(listed, "s", "v", usage=usage, time_ns=NOW, maxima={}).amount


def charged(listed: Catalogue, usage: Any) -> int | None:
    return cost(listed, "s", "v", usage=usage, time_ns=NOW, maxima={}).amount


@pytest.mark.parametrize(
    ("kind", "model", "above"),
    [
        ("openai", "gpt-5.5", 272_000),
        ("gemini", "gemini-2.5-pro", 200_000),
        ("anthropic", "claude-sonnet-4-5", 200_000),
        ("anthropic", "claude-haiku-5-5", 100_000),
    ],
)
def test_litellm_40002_a_long_call_is_reserved_at_its_tier(kind: str, model: str, above: int) -> None:
    """There: $0.60 spent on a cap of $0.45, because a call above the threshold was reserved at the price below it."""
    listed = catalogue(*prices_of(kind, model, match="s/v"))
    bounds = {"input_token": above + 1, "output_token": 8000}
    most = reserved(listed, bounds)
    assert most is not None
    for usage in (bounds, {"input_token": 0, "cache_write_token": above + 1, "output_token": 8000}):
        assert (charged(listed, usage) or 0) <= most
    below = reserved(listed, {"input_token": above, "output_token": 8000})
    assert below is not None
    assert most > below * 5 // 4


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400", "-5", "1.5"])
def test_litellm_38647_no_number_poisons_a_sum(text: str) -> None:
    """There: NaN or an infinity in one response's usage made a counter compare false with every limit, for good."""
    reader = make_reader("openai.chat", content_type="application/json")
    reader.feed(f'{{"object": "x", "usage": {{"prompt_tokens": {text}, "completion_tokens": 1}}}}'.encode())
    usage = reader.end()
    assert not usage.complete
    assert not usage.units
    with pytest.raises(BadRequest):
        charged(catalogue(Price("s/v", "input_token", 1, "USD", public=True)), {"input_token": float(text)})


def test_litellm_38647_the_worst_case_is_no_fraction_more_than_the_limit() -> None:
    """There: a limit of $25 was found to be exceeded by 25.000000000000004, with nothing spent."""
    listed = catalogue(
        Price("s/v", "input_token", 1 * USD, "USD", per=10, public=True),
        Price("s/v", "output_token", 2 * USD, "USD", per=10, public=True),
    )
    # 0.1 x 1 + 0.2 x 1 is 0.3, and not 0.30000000000000004.
    assert reserved(listed, {"input_token": 1, "output_token": 1}) == 300_000_000
    assert reserved(listed, {"input_token": 50, "output_token": 100}) == 25 * USD


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        ("openai.chat", b'data: {"choices":[{"delta":{"content":"x"}}],"usage":null}\n\ndata: [DONE]\n\n'),
        ("openai.responses", b'data: {"type":"response.output_text.delta","delta":"x"}\n\n'),
        ("anthropic.messages", b'data: {"type":"content_block_delta","delta":{"text":"x"}}\n\n'),
        ("gemini.generate", b'data: {"candidates":[{"content":{"parts":[{"text":"x"}]}}]}\n\n'),
    ],
)
def test_litellm_37923_a_stream_that_states_no_usage_is_not_free(name: str, stream: bytes) -> None:
    """There: streams were recorded at $0, and the invoice said 830 EUR where the budget said $1.47."""
    reader = make_reader(name, content_type="text/event-stream")
    reader.feed(stream)
    usage = reader.end()
    assert not usage.complete
    assert charged(catalogue(*prices_of("openai", "gpt-5", match="s/v")), usage.units) is None


def test_litellm_reserves_nothing_for_a_model_without_a_price_and_here_it_is_unknown() -> None:
    """There: an unknown price means no reservation, and the call goes on. Here it is no known amount: denied."""
    listed = catalogue(*prices_of("openai", "no-such-model", match="s/v"))
    assert reserved(listed, {"input_token": 1, "output_token": 1}) is None
