"""Which kinds of service have public prices, and in what they are counted."""

from __future__ import annotations

from collections.abc import Mapping

PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "gemini": "google", "azure": "azure", "bedrock": "aws"}
"""The price table's name of each kind's provider."""

PRICED_KINDS = frozenset(PROVIDERS)

# Each kind of price there: the unit here, and how many of it are meant.
UNITS: Mapping[str, tuple[str, int]] = {
    "input_mtok": ("input_token", 10**6),
    "cache_read_mtok": ("cache_read_token", 10**6),
    "cache_write_mtok": ("cache_write_token", 10**6),
    "cache_write_1h_mtok": ("cache_write_1h_token", 10**6),
    "input_audio_mtok": ("input_audio_token", 10**6),
    "cache_audio_read_mtok": ("cache_audio_read_token", 10**6),
    "input_image_mtok": ("input_image_token", 10**6),
    "cache_image_read_mtok": ("cache_image_read_token", 10**6),
    "input_video_mtok": ("input_video_token", 10**6),
    "output_mtok": ("output_token", 10**6),
    "output_audio_mtok": ("output_audio_token", 10**6),
    "output_image_mtok": ("output_image_token", 10**6),
    "output_video_mtok": ("output_video_token", 10**6),
    "audio_hours": ("audio_second", 3600),
    "input_mchars": ("input_character", 10**6),
    "requests_kcount": ("call", 1000),
    "web_searches_kcount": ("web_search", 1000),
    "storage_searches_kcount": ("file_search", 1000),
}

PUBLIC_UNITS = frozenset(unit for unit, _ in UNITS.values()) | {"image"}
"""What the kinds that have public prices are counted in."""
