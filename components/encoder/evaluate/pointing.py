"""Pointing: does the best-matching patch of a picture lie inside the product's box?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import HeldOut
from components.encoder.model.features.pixels import PixelCache


@dataclass(frozen=True)
class Points:
    """One row per product with a true box: the point chosen (fractions of width and height) and the box."""

    product_ids: list[str]
    scenes: list[str]
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64]  # [N, 4]: x0 y0 x1 y1

    @property
    def hits(self) -> npt.NDArray[np.float64]:
        """1 where the point lies inside the box."""
        x0, y0, x1, y1 = self.boxes.T
        inside: npt.NDArray[np.float64] = (
            (self.x >= x0) & (self.x <= x1) & (self.y >= y0) & (self.y <= y1)
        ).astype(np.float64)
        return inside


def boxed_products(held_out: HeldOut) -> list[int]:
    """Rows of the split whose true box is known."""
    truth = held_out.truth
    return [i for i, r in enumerate(held_out.rows) if truth.get(r["product_id"], {}).get("box")]


def _points(
    held_out: HeldOut, chosen: list[int], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> Points:
    rows = [held_out.rows[i] for i in chosen]
    truth = [held_out.truth[r["product_id"]] for r in rows]
    boxes = np.array([t["box"] for t in truth], dtype=np.float64).reshape(-1, 4)
    return Points([r["product_id"] for r in rows], [t["scene"] for t in truth], x, y, boxes)


def centre_points(held_out: HeldOut) -> Points:
    """The baseline that sees nothing: always the picture's centre."""
    chosen = boxed_products(held_out)
    half = np.full(len(chosen), 0.5)
    return _points(held_out, chosen, half, half)


def text_points(encoder: BatchEncoder, held_out: HeldOut, pixels: PixelCache) -> Points:
    """The patch most similar to the product type, with nothing else said.

    Zhang et al. 2018, "Top-down neural attention by excitation backprop": the pointing game.
    """
    chosen = boxed_products(held_out)
    types = sorted({held_out.rows[i]["product_type"] for i in chosen})
    vectors = dict(zip(types, encoder.texts(types), strict=True)) if types else {}
    x, y = np.zeros(len(chosen)), np.zeros(len(chosen))
    for start in range(0, len(chosen), encoder.batch_size):
        part = chosen[start : start + encoder.batch_size]
        patches = encoder.patch_vectors(pixels.take(held_out.positions[part]))
        _, rows, columns, _ = patches.shape
        for k, (i, grid) in enumerate(zip(part, patches, strict=True), start):
            best = int((grid @ vectors[held_out.rows[i]["product_type"]]).argmax())
            y[k], x[k] = (best // columns + 0.5) / rows, (best % columns + 0.5) / columns
    return _points(held_out, chosen, x, y)
