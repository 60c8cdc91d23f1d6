"""Careless photos: a product's plain picture becomes one of a cluttered scene, with its true box.

A pure function of seed, product, parameters and the pool of other things. What a picture shows beside the
product is cut from other products of the same split and of other types, so nothing crosses splits and the
product type still names one thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from components.catalog.format.errors import ImageError
from components.catalog.format.images import decode_image
from components.catalog.format.params import ImageLimits
from components.catalog.format.records import Noise, Product
from components.catalog.noise.cut_out import CutOut, cut_out
from components.catalog.noise.params import Ground, PhotoNoiseParams
from components.catalog.noise.scene import PhotoScene, scene
from components.catalog.noise.seller_text import random_of

# The build has judged pictures already; here they only must not cost more.
LIMITS = ImageLimits(min_side_px=1)
NO_PLAIN_GROUND = "no_plain_ground"


class Thing(NamedTuple):
    """What may stand beside a product: the type it has, and its cut-out."""

    product_type: str
    cut: CutOut


Pool = Mapping[str, Sequence[Thing]]  # split -> things


class Photo(NamedTuple):
    """A product's picture after all. ``kind``: ``plain``, ``scene.GROUND``, or why it could be neither.

    ``box`` is None where it is not known.
    """

    image: bytes
    box: tuple[float, float, float, float] | None
    kind: str
    acts: tuple[Noise, ...] = ()


class PhotoNoise:
    """Puts products into scenes, for ``params.share`` of them; the others stay byte for byte as they are."""

    def __init__(self, params: PhotoNoiseParams, seed: int, pool: Pool) -> None:
        self._params, self._seed, self._pool = params, seed, pool

    def apply(self, product: Product) -> Photo:
        """The picture that the seller takes."""
        cut = cut_from(product.image, self._params.longest_side_px)
        if cut is None:
            return Photo(product.image, None, NO_PLAIN_GROUND)
        rng = random_of("seller-photo", self._seed, product.product_id)
        if rng.random() >= self._params.share:
            return Photo(product.image, cut.box, "plain")
        ground = self._ground(rng, product)
        taken = scene(cut, self._things(rng, product), ground, self._params, rng)
        if taken is None:
            return Photo(product.image, cut.box, "plain")
        return self._photo(taken, ground, rng)

    def _ground(self, rng: np.random.Generator, product: Product) -> Ground:
        held_back = () if product.split == "test" else self._params.test_only
        allowed = [ground for ground in self._params.grounds if ground not in held_back]
        return allowed[int(rng.integers(len(allowed)))]

    def _things(self, rng: np.random.Generator, product: Product) -> list[CutOut]:
        """Things of the product's split, one of a type and none of its own; at most one that is cut off."""
        wanted = int(rng.integers(self._params.others[0], self._params.others[1] + 1))
        pool, found = self._pool.get(product.split or "", ()), dict[str, CutOut]()
        for at in rng.permutation(len(pool)):
            thing = pool[int(at)]
            crowded = bool(thing.cut.cut_side) and any(cut.cut_side for cut in found.values())
            if len(found) < wanted and thing.product_type != product.product_type and not crowded:
                found.setdefault(thing.product_type, thing.cut)
        return list(found.values())

    def _photo(self, taken: PhotoScene, ground: Ground, rng: np.random.Generator) -> Photo:
        low, high = self._params.jpeg_quality
        image, kind = taken.jpeg(int(rng.integers(low, high + 1))), f"scene.{ground}"
        act = Noise(field="image", kind=kind, detail=f"{taken.others} other things")
        return Photo(image, taken.box, kind, (act,))


def cut_from(image: bytes, longest_side_px: int) -> CutOut | None:
    """The product of an encoded picture, at most so large; None where it cannot be cut out or read."""
    try:
        photo = decode_image(image, LIMITS, target_px=longest_side_px)
    except ImageError:
        return None
    if max(photo.size) > longest_side_px:
        scale = longest_side_px / max(photo.size)
        width, height = (max(1, round(side * scale)) for side in photo.size)
        photo = photo.resize((width, height), Image.Resampling.LANCZOS)
    return cut_out(photo)
