"""A few products that stand for all: the same ones in every run of a catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

SEED = "vitrine"


def order_of(product_id: str) -> str:
    """Where a product stands in the order that samples are taken in: by a hash, whatever else there is."""
    return hashlib.sha256(f"{SEED}:{product_id}".encode()).hexdigest()


def sampled(product_ids: Iterable[str], most: int) -> list[str]:
    """At most ``most`` of the products, each once; a product that joins or leaves moves no other."""
    return sorted(set(product_ids), key=order_of)[:most]
