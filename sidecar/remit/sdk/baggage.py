"""The surroundings as OpenTelemetry baggage (W3C Baggage): `remit.workflow`, `remit.purpose`, `remit.actor`.

Only where OpenTelemetry is in use: it is never loaded for it. What propagates baggage sends it to every host; Remit's
egress takes these members out.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module

PREFIX = "remit."


def carry(members: Mapping[str, str]) -> None:
    """Set the members of the current context's baggage, and remove those that are ""; others stay as they are."""
    if "opentelemetry.context" not in sys.modules:
        return
    context, baggage = import_module("opentelemetry.context"), import_module("opentelemetry.baggage")
    now = context.get_current()
    for name, value in members.items():
        named = PREFIX + name
        now = baggage.set_baggage(named, value, now) if value else baggage.remove_baggage(named, now)
    context.attach(now)
