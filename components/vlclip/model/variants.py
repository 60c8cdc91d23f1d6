"""The rows of VL-CLIP's table: what of the picture and which text each one is trained on.

VL-CLIP (arXiv 2507.17080) trains CLIP on (crop, refined text). Our choice: the whole picture and the crop are
read together, so that a wrong box or a plain picture costs nothing; the other rows take parts away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from components.encoder.model.crops.boxes import WHOLE, Boxes, checked_box, widened
from components.encoder.model.crops.crops import CropCache
from components.encoder.model.crops.grounding_file import read_grounding, table_of
from components.encoder.model.features.captions import caption
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.picture_features import FeatureCache, Features
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_truth
from components.encoder.model.towers.dual_encoder import Encoder
from components.stage.paths import Paths
from components.vlclip.model.errors import TextDataError, VlclipConfigurationError

Confidence = npt.NDArray[np.float32]  # [N]

TEXT_COLUMNS = ("product_id", "text", "facts")
VIEWS = 2  # the whole picture, and the crop


@dataclass(frozen=True)
class Variant:
    """What one row sees and reads."""

    picture: Literal["whole", "crop", "both", "true_both"]
    text: Literal["seller", "clarified"]


VARIANTS = {
    "raw": Variant("whole", "seller"),
    "crop": Variant("crop", "seller"),
    "clarified": Variant("whole", "clarified"),
    "grounded": Variant("both", "seller"),
    "full": Variant("both", "clarified"),
    # studies only: the ceiling of grounding, which reads truth
    "true_box": Variant("true_both", "clarified"),
}
UNTRAINED = Variant("whole", "seller")  # the encoder as VL-CLIP's training finds it
UNSEEN = "unseen"  # ``full_unseen``: trained without the product types of :func:`left_out_types`


def variant_of(row: str) -> Variant:
    """The variant of a table's row: ``full``, or ``full_43`` for the same with seed 43, or ``full_unseen``.

    Raises:
        VlclipConfigurationError: no such variant.
    """
    name, _, kind = row.rpartition("_")
    known = VARIANTS.get(name if kind.isdecimal() or kind == UNSEEN else row)
    if known is None:
        raise VlclipConfigurationError(f"'{row}' is no row of a variant; variants: {', '.join(VARIANTS)}.")
    return known


def left_out_types(types: Iterable[str], every: int) -> set[str]:
    """Every ``every``-th product type in order of name, from the ``every``-th on."""
    return set(sorted(set(types))[every - 1 :: every])


@dataclass(frozen=True)
class PictureSize:
    """How pictures are cut and scaled: ``margin`` as in training, side in pixels, decoding threads."""

    margin: float
    image_px: int
    threads: int


@dataclass(frozen=True)
class VariantViews:
    """What a variant sees of every product, in catalogue order.

    Attributes:
        first: the whole picture, or the crop where a variant sees nothing else.
        crops: read beside the whole picture; a product without a box has the whole picture once more.
        confidence: of each crop, in 0..1; 0 without a box.
    """

    first: PixelCache
    crops: CropCache | None = None
    confidence: Confidence | None = None


def pictures_of(
    variant: Variant, rows: list[dict[str, Any]], paths: Paths, size: PictureSize, together: bool = True
) -> VariantViews:
    """Pictures of every product as the variant sees them.

    Args:
        together: false for an encoder that reads one view: then the crop stands for whole picture and crop.

    Raises:
        GroundingDataError, BoxError: boxes are missing, broken or of another catalogue.
    """
    whole = PixelCache(paths.catalogue, size.image_px, paths.cache, size.threads)
    if variant.picture == "whole":
        return VariantViews(whole)
    boxes, confidence = (_true_boxes if variant.picture == "true_both" else _found_boxes)(rows, paths)
    crops = CropCache(paths.catalogue, widened(boxes, size.margin), size.image_px, paths.cache, size.threads)
    if variant.picture == "crop" or not together:
        return VariantViews(crops)
    return VariantViews(whole, crops, confidence)


def _found_boxes(rows: list[dict[str, Any]], paths: Paths) -> tuple[Boxes, Confidence]:
    found = read_grounding(paths.grounding, [r["product_id"] for r in rows])
    scores = np.clip(np.nan_to_num(np.array(found.scores, np.float32)), 0, 1)
    return found.boxes, np.where(found.fallback, np.float32(0), scores)


def _true_boxes(rows: list[dict[str, Any]], paths: Paths) -> tuple[Boxes, Confidence]:
    known = read_truth(paths.truth)
    found = [known.get(r["product_id"], {}).get("box") for r in rows]
    names = [f"product {r['product_id']} in {paths.truth}" for r in rows]
    boxes = [checked_box(b, n) if b else WHOLE for b, n in zip(found, names, strict=True)]
    return np.array(boxes), np.array([b is not None for b in found], np.float32)


@dataclass(frozen=True)
class ClarifiedText:
    """A product's clarified text, and the attributes ``[{name, value}]`` that it states, as checked."""

    text: str
    facts: list[dict[str, str]]


def read_texts(folder: Path, product_ids: list[str]) -> list[ClarifiedText]:
    """The clarified text of each product, in this order.

    Raises:
        TextDataError: the file is missing or damaged, lacks a column or lacks a product.
    """
    file = folder / "texts.parquet"
    table = table_of(file, TEXT_COLUMNS, TextDataError, "clarify")
    columns = [table[name].to_pylist() for name in TEXT_COLUMNS]
    texts = {i: ClarifiedText(text or "", facts or []) for i, text, facts in zip(*columns, strict=True)}
    if missing := [p for p in product_ids if p not in texts]:
        raise TextDataError(
            f"{file} has no text for {len(missing):,} products, such as {missing[0]}; "
            "run 'vitrine run --until clarify' again."
        )
    return [texts[p] for p in product_ids]


def texts_of(variant: Variant, rows: list[dict[str, Any]], paths: Paths) -> list[dict[str, Any]]:
    """The rows with the variant's text as their title, and with the attributes that this text states.

    The seller's text is title and attribute values in one line. A clarified text's attributes are those that
    the agent's own check found in it, so that nothing the agent removed comes back through the record.
    """
    if variant.text == "seller":
        return [{**r, "title": caption(r, "title_attributes")} for r in rows]
    texts = read_texts(paths.clarified, [r["product_id"] for r in rows])
    return [{**r, "title": t.text, "attributes": t.facts} for r, t in zip(rows, texts, strict=True)]


def reads_together(encoder: Encoder) -> bool:
    """Whether an encoder can read whole picture and crop together: its heads can, projections cannot."""
    return encoder.heads is not None


class ViewFeatures:
    """Features ``[whole, crop, confidence]`` of every product; those of each picture are computed once."""

    def __init__(self, whole: FeatureCache, crops: FeatureCache, confidence: Confidence) -> None:
        self._whole, self._crops, self._confidence = whole, crops, confidence

    def take(self, rows: npt.NDArray[np.int64]) -> Features:
        """Features ``[len(rows), 2 F + 1]`` of catalogue rows."""
        parts = [self._whole.take(rows), self._crops.take(rows), self._confidence[rows, None]]
        return np.concatenate(parts, axis=1)


def view_features(pictures: VariantViews, batch: BatchEncoder, paths: Paths) -> FeatureCache | ViewFeatures:
    """Features of what a variant sees, by a frozen image tower."""
    first = FeatureCache(pictures.first, batch, paths.cache)
    if pictures.crops is None or pictures.confidence is None:
        return first
    return ViewFeatures(first, FeatureCache(pictures.crops, batch, paths.cache), pictures.confidence)
