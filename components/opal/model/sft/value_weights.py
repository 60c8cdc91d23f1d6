"""How much the words of a value count in the loss: rare attributes more, or they are learned last.

One product in forty has an attribute of its product type alone, such as the spout of a jug. Nearly every
product has a brand, which no picture shows. If each token counts the same, a short training is spent on
brands.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from components.opal.model.listing_text import compact_json


def _attributes(answer: str) -> dict[str, Any]:
    """The attributes of an answer that is a listing; of others none."""
    try:
        loaded = json.loads(answer)
    except ValueError:
        return {}
    found = loaded.get("attributes") if isinstance(loaded, dict) else None
    return found if isinstance(found, dict) else {}


def attribute_weights(answers: Sequence[str], rarity: float, least: float) -> dict[str, float]:
    """A weight for each attribute: the share of listings that state it, to the power of ``-rarity``.

    Args:
        least: every attribute counts as stated by at least this share.
    """
    stated = Counter(name for answer in answers for name in _attributes(answer))
    most = max(stated.values(), default=1)
    return {name: max(n / most, least) ** -rarity for name, n in stated.items()}


def token_weights(
    answer: str, offsets: Sequence[tuple[int, int]], weights: Mapping[str, float]
) -> list[float]:
    """A weight for each token of an answer: that of its attribute within a value, else 1.

    Args:
        offsets: first character, and the one behind the last, of each token.
    """
    out, at = [1.0] * len(offsets), 0
    for name, value in _attributes(answer).items():
        key = compact_json(name) + ":"
        found = answer.find(key + compact_json(value), at)
        if found < 0:
            continue
        first, at = found + len(key), found + len(key) + len(compact_json(value))
        for i, (start, end) in enumerate(offsets):
            if start < at and end > first:
                out[i] = weights.get(name, 1.0)
    return out
