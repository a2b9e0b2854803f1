"""W3C Baggage on its way out: Remit's own members are nobody else's business."""

from __future__ import annotations


def without_ours(baggage: str) -> str:
    """The members that are not Remit's, "" where there are none."""
    return ",".join(each for each in baggage.split(",") if each.strip() and not each.strip().startswith("remit."))
