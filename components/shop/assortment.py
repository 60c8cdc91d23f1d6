"""What the shop sells: categories, product types, their visible parts, materials, patterns and colours."""

from __future__ import annotations

from pathlib import Path

import yaml

from components.stage.params import Params

# Hue in degrees, saturation and value in 0..1 of each colour's centre; shades vary around it (see paint.py).
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (357, 0.80, 0.78),
    "orange": (27, 0.86, 0.93),
    "yellow": (50, 0.78, 0.95),
    "green": (125, 0.60, 0.55),
    "teal": (178, 0.68, 0.58),
    "blue": (212, 0.70, 0.82),
    "navy": (224, 0.66, 0.30),
    "purple": (277, 0.52, 0.58),
    "pink": (338, 0.42, 0.95),
    "brown": (22, 0.58, 0.42),
    "beige": (38, 0.24, 0.86),
    "black": (230, 0.10, 0.13),
    "white": (45, 0.03, 0.96),
    "grey": (215, 0.05, 0.56),
}
PATTERNS = ("plain", "striped", "checked", "dotted", "floral", "zigzag")
REQUIRED = ("brand", "colour", "pattern", "material")


class ProductType(Params):
    """One kind of product. ``parts`` are attributes one can see; ``measure`` is (name, low, high, step)."""

    name: str
    category: str
    parts: dict[str, tuple[str, ...]]
    materials: tuple[str, ...]
    patterns: tuple[str, ...]
    uses: tuple[str, ...]
    measure: tuple[str, int, int, int] | None = None


_SOLD = yaml.safe_load(Path(__file__).with_name("assortment.yaml").read_text(encoding="utf-8"))
TYPES = {name: ProductType(name=name, **kind) for name, kind in _SOLD.items()}
CATEGORIES: tuple[str, ...] = tuple(dict.fromkeys(kind.category for kind in TYPES.values()))
