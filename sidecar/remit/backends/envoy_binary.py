"""Which Envoy to run; see `program` for where it is looked for, and `envoy_install` for installing it."""

from __future__ import annotations

import re

from remit.backends.program import Missing, Program, Unusable


class EnvoyUnusable(Unusable):
    """A file is not an Envoy that may be used; the message says which and why."""


class EnvoyMissing(Missing):
    """No usable Envoy was found."""


ENVOY = Program(
    name="Envoy",
    command="envoy",
    variable="REMIT_ENVOY_BIN",
    # What Remit is tested with and installs. Older ones carry known holes; 2.x may mean other semantics.
    pinned=(1, 40, 0),
    asking="--version",
    told=re.compile(r" version: \w+/(\d+)\.(\d+)\.(\d+)([^/\s]*)/"),
    unusable=EnvoyUnusable,
    missing=EnvoyMissing,
)

find = ENVOY.find
examine = ENVOY.examine
cache_path = ENVOY.cache_path
