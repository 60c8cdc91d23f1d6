"""What is asked: words, a picture, or both, and what each counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from components.encoder.search.conditions import Condition
from components.fusion.answer.answer import Parts
from components.fusion.model.errors import FusionConfigurationError


@dataclass(frozen=True)
class Question:
    """One search.

    Attributes:
        k: how many products. where: what a product must fulfil.
        parts: what text and picture count where both are given; None: as validation has found.
    """

    text: str
    image: Path | None = None
    k: int = 10
    where: tuple[Condition, ...] = ()
    parts: Parts | None = None


def read_parts(text: str) -> Parts:
    """``text=0.6,image=0.4``, made to sum to 1; a part that is not named counts nothing.

    Raises:
        FusionConfigurationError: another name or one twice, no number from 0 on, or nothing that counts.
    """
    found: dict[str, float] = {}
    for word in text.split(","):
        name, _, value = (part.strip() for part in word.partition("="))
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if name not in ("text", "image") or not 0 <= number < float("inf"):
            raise FusionConfigurationError(
                f"--weights takes text=0.6,image=0.4 with numbers from 0 on, not '{word}'."
            )
        if name in found:
            raise FusionConfigurationError(f"--weights names {name} twice.")
        found[name] = number
    total = sum(found.values())
    if total == float("inf"):
        raise FusionConfigurationError("--weights are too great to be compared; take text=0.6,image=0.4.")
    if not total:
        raise FusionConfigurationError("--weights must let text or image count: text=0.6,image=0.4.")
    return Parts(text=found.get("text", 0) / total, image=found.get("image", 0) / total)
