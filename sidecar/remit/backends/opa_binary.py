"""Which OPA to run; see `program` for where it is looked for, and `opa_install` for building it."""

from __future__ import annotations

import re

from remit.backends.program import Missing, Program, Unusable


class OpaUnusable(Unusable):
    """A file is not an OPA that may be used; the message says which and why."""


class OpaMissing(Missing):
    """No usable OPA was found."""


OPA = Program(
    name="OPA",
    command="opa",
    variable="REMIT_OPA_BIN",
    # What Remit is tested with and builds. Older ones carry known holes; 2.x may mean other semantics.
    pinned=(1, 22, 2),
    asking="version",
    told=re.compile(r"^Version: (\d+)\.(\d+)\.(\d+)(\S*)$", re.MULTILINE),
    unusable=OpaUnusable,
    missing=OpaMissing,
)

find = OPA.find
examine = OPA.examine
cache_path = OPA.cache_path
