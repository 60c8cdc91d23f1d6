"""Deterministic splits that keep a group together.

A group's split is a pure function of its id and the seed, so adding products never moves the others.
"""

from __future__ import annotations

import hashlib

from components.catalog.format.records import SPLITS, Split
from components.catalog.source.params import SplitFractions


def uniform(*key: object) -> float:
    """A number in [0, 1) that depends on ``key`` alone, the same on every machine (53 bits of SHA-256)."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def split_of(group_id: str, fractions: SplitFractions, seed: int) -> Split:
    """The split of every product of ``group_id``; shares are met in expectation over groups."""
    position = uniform("split", seed, group_id)
    for split in SPLITS[:-1]:
        position -= getattr(fractions, split)
        if position < 0:
            return split
    return SPLITS[-1]
