"""How much the random tests try: little in every run, much in a soak.

REMIT_PROFILE is `ci` (default) or `soak`; REMIT_SEED replays a run, which otherwise has a new seed.
"""

from __future__ import annotations

import os
import random
import secrets
from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """`examples` and `steps` of Hypothesis; `machines` of its state machines, each of so many steps; images after
    a power loss, kills of a sidecar, kills of a store, faults of a disk, flipped bytes, calls that break off, queries
    that views are compared by, contended reserves, cut networks and kills of members on the shared store; flavours of
    each order in which approvals are asked, answered and used, whether each is played on both stores, and interleavings
    of all who do; teams of three levels at work while they are killed."""

    examples: int
    machines: int
    steps: int
    images: int
    kills: int
    store_kills: int
    faults: int
    flips: int
    cuts: int
    queries: int
    reserves: int
    network_cuts: int
    member_kills: int
    flavours: int
    both_stores: bool
    interleavings: int
    teams: int


PROFILES = {
    "ci": Counts(
        examples=40,
        machines=40,
        steps=40,
        images=500,
        kills=12,
        store_kills=60,
        faults=30,
        flips=400,
        cuts=60,
        queries=300,
        reserves=1_000,
        network_cuts=10,
        member_kills=3,
        flavours=1,
        both_stores=False,
        interleavings=120,
        teams=2,
    ),
    "soak": Counts(
        examples=2_000,
        machines=1_000,
        steps=80,
        images=50_000,
        kills=2_000,
        store_kills=10_000,
        faults=2_000,
        flips=10**6,
        cuts=500,
        queries=6_000,
        reserves=100_000,
        network_cuts=2_000,
        member_kills=500,
        flavours=4,
        both_stores=True,
        interleavings=10_000,
        teams=50,
    ),
}
PROFILE = os.environ.get("REMIT_PROFILE", "ci")
COUNTS = PROFILES[PROFILE]
# Set for the workers of a parallel run too.
SEED = int(os.environ.setdefault("REMIT_SEED", str(secrets.randbits(32))))


def dice(name: str) -> random.Random:
    """Randomness of this run's seed; a stream of its own for each name."""
    return random.Random(f"{SEED} {name}")
