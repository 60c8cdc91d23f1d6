"""What each product is and how its picture is taken, drawn from a seed.

A *design* belongs to a group (type, parts, material, pattern, brand); a *specification* is one product of it
(colours, text seed, photo). Every draw comes from a Generator seeded by (seed, what, id), so any product can
be made alone, in any order, in any process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from components.catalog.format.records import SPLITS, Split
from components.shop.assortment import COLOURS, TYPES, ProductType
from components.shop.params import ShopParams

T = TypeVar("T")
Form = tuple[float, float, float, float]

_SYLLABLES = (
    "al", "bren", "cor", "dal", "elm", "fen", "gav", "hol", "ister", "jor", "kel", "lun", "mar", "nor", "ost",
    "pel", "quil", "ros", "sten", "tov",
)  # fmt: skip
_ENDINGS = ("a", "by", "den", "ello", "ick", "ova", "rell", "sen", "tide", "wen")
BRANDS = 40  # in the whole shop
BRANDS_PER_CATEGORY = 8
ACCENTED_SHARE = 0.6  # of plain products: trimmed in a second colour; the rest is trimmed tone in tone
_COLOUR_NAMES = tuple(COLOURS)
_KINDS = tuple(TYPES.values())
# Colours that do not stand out from each other: a pattern in such a pair could not be seen.
_ALIKE = (
    ("black", "navy"), ("white", "beige"), ("teal", "green"), ("brown", "orange"),
    ("red", "brown"), ("purple", "navy"), ("yellow", "beige"), ("blue", "teal"),
    ("black", "brown"), ("navy", "blue"), ("pink", "beige"), ("orange", "red"),
    ("yellow", "orange"), ("pink", "white"), ("yellow", "white"), ("purple", "blue"),
    ("grey", "teal"), ("grey", "blue"),
)  # fmt: skip


def generator(seed: int, *labels: str | int) -> np.random.Generator:
    """A Generator of its own for (seed, labels): equal on every machine and in every process."""
    key = hashlib.blake2b(repr((seed, *labels)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.SFC64(int.from_bytes(key, "little")))


@dataclass(frozen=True)
class Specification:
    """One product: all that is true of it (attributes sorted by name) and the proportions of its design."""

    index: int
    product_id: str
    group_id: str
    kind: ProductType
    attributes: dict[str, str]
    form: Form


def brands(seed: int) -> list[str]:
    """The shop's invented brand names."""
    rng = generator(seed, "brands")
    found: dict[str, None] = {}
    while len(found) < BRANDS:
        middle = pick(rng, _SYLLABLES) if rng.random() < 0.5 else ""
        found[pick(rng, _SYLLABLES).capitalize() + middle + pick(rng, _ENDINGS)] = None
    return list(found)


def pick(rng: np.random.Generator, values: Sequence[T]) -> T:
    """One of ``values``, each as likely (Generator.choice copies the values into an array: 10x slower)."""
    return values[int(rng.integers(len(values)))]


@lru_cache(maxsize=64)
def contrasting_colours(colour: str) -> tuple[str, ...]:
    """Second colours that stand out from ``colour``."""
    clash = {colour, *(a if b == colour else b for a, b in _ALIKE if colour in (a, b))}
    return tuple(name for name in COLOURS if name not in clash)


@lru_cache(maxsize=64)
def _category_brands(seed: int, category: str) -> tuple[str, ...]:
    names = brands(seed)
    return tuple(
        names[k] for k in generator(seed, "stocks", category).permutation(BRANDS)[:BRANDS_PER_CATEGORY]
    )


@dataclass(frozen=True, eq=False)  # compared by identity: it is a key of caches
class ProductPlan:
    """Which products there are. ``members[i]`` is (group, place in the group) of product i; ``kinds`` and
    ``splits`` hold one number per group: its type's and its split's place in TYPES and SPLITS."""

    params: ShopParams
    seed: int
    members: NDArray[np.int64]
    kinds: NDArray[np.int64]
    splits: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.members)

    def kind(self, index: int) -> ProductType:
        """The product type of product ``index``."""
        return _KINDS[int(self.kinds[self.members[index, 0]])]

    @cached_property
    def _by_split(self) -> list[list[int]]:
        of_product = self.splits[self.members[:, 0]]
        return [np.flatnonzero(of_product == split).tolist() for split in range(len(SPLITS))]

    def in_split(self, split: int) -> list[int]:
        """The products of a split, given by its place in SPLITS."""
        return self._by_split[split]

    def split(self, index: int) -> Split:
        """The split that the whole group of product ``index`` belongs to."""
        return SPLITS[int(self.splits[self.members[index, 0]])]


def plan(params: ShopParams) -> ProductPlan:
    """Lay out groups, their types and splits; every type has about as many groups as another."""
    rng = generator(params.seed, "plan")
    groups = max(len(TYPES), round(params.products * (1 - params.variant_share)))
    variants = rng.integers(0, groups, params.products - groups)
    group = np.sort(np.concatenate([np.arange(groups), variants]))
    place = np.arange(len(group)) - np.searchsorted(group, group)
    order = rng.permutation(len(group))  # neighbouring ids tell nothing about groups
    kinds = rng.permutation(np.arange(groups) % len(TYPES))
    # Splits are dealt out type by type, so that each type is in each split as its fraction says.
    rank = np.empty(groups)
    rank[np.lexsort((rng.random(groups), kinds))] = np.arange(groups) / groups * len(TYPES) % 1
    test, validation = params.test_fraction, params.validation_fraction
    splits = np.where(rank < test, SPLITS.index("test"), np.where(rank < test + validation, 1, 0))
    return ProductPlan(params, params.seed, np.stack([group, place], axis=1)[order], kinds, splits)


def _design(seed: int, group: int, kind: ProductType) -> tuple[dict[str, str], Form]:
    """The attributes and proportions that all variants of a group share."""
    rng = generator(seed, "design", group)
    attributes = {name: pick(rng, values) for name, values in kind.parts.items()}
    attributes["material"] = pick(rng, kind.materials)
    attributes["pattern"] = pick(rng, kind.patterns)
    attributes["use"] = pick(rng, kind.uses)
    attributes["brand"] = pick(rng, _category_brands(seed, kind.category))
    if kind.measure:
        name, low, high, step = kind.measure
        attributes[name] = str(low + step * int(rng.integers(0, (high - low) // step + 1)))
    a, b, c, d = rng.uniform(-1, 1, 4).tolist()
    return attributes, (a, b, c, d)


def _colours(shop: ProductPlan, group: int, place: int, pattern: str) -> tuple[str, str]:
    """Colour and second colour of a variant; the latter is empty when the accents are tone in tone."""
    if place and generator(shop.seed, "recoloured", group, place).random() >= shop.params.recolour_share:
        place = 0  # the same product, photographed again
    rng = generator(shop.seed, "colours", group, place)
    colour = pick(rng, _COLOUR_NAMES)
    accent = pick(rng, contrasting_colours(colour))
    return colour, accent if pattern != "plain" or rng.random() < ACCENTED_SHARE else ""


def specification(shop: ProductPlan, index: int) -> Specification:
    """Everything that is true of product ``index``."""
    group, place = (int(value) for value in shop.members[index])
    kind = shop.kind(index)
    attributes, form = _design(shop.seed, group, kind)
    colour, accent = _colours(shop, group, place, attributes["pattern"])
    attributes["colour"] = colour
    if accent:
        attributes["accent_colour"] = accent
    return Specification(
        index=index,
        product_id=f"P{index:07d}",
        group_id=f"G{group:07d}",
        kind=kind,
        attributes=dict(sorted(attributes.items())),
        form=form,
    )
