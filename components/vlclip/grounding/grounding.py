"""Where a product is in its picture, asked with nothing but its product type.

VL-CLIP (arXiv 2507.17080): prompt = product type only; the most confident box is used, and the whole
picture below a threshold. The protocol has two kinds of implementations: the encoder's own patches (here)
and open-vocabulary detectors (:mod:`components.vlclip.grounding.detectors`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from components.catalog.format.errors import ImageError
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.pixels import square
from components.vlclip.grounding.empty_pictures import empty_pictures
from components.vlclip.grounding.foreground import drawn_around
from components.vlclip.grounding.windows import Windows, peak
from components.vlclip.model.boxes import Boxes, areas, box_problem, clipped
from components.vlclip.model.errors import GroundingDataError, VlclipConfigurationError
from components.vlclip.model.params import EncoderGrounding

Patches = npt.NDArray[np.float32]

NO_TYPE = "no product type"
UNKNOWN_TYPE = "product type is not in the schema"
NO_PICTURE = "picture cannot be read"
NOT_LEARNED = "product type was in no scene, nor one that is like it"
NOTHING = "nothing found"
BAD_BOX = "box"
LOW_SCORE = "score is below the threshold"
SMALL = "box is smaller than the minimum area"


@dataclass(frozen=True)
class Proposals:
    """The most confident box of each picture, as it came: nothing has been judged yet.

    Attributes:
        boxes: ``[N, 4]`` fractions x0 y0 x1 y1; NaN where nothing was found. scores: ``[N]``.
        points: ``[N, 2]`` x and y of the most telling point; NaN where nothing was found.
        problems: a reason per picture that could not be looked at, else ``""``.
    """

    boxes: Boxes
    scores: npt.NDArray[np.float64]
    points: npt.NDArray[np.float64]
    problems: list[str]


class Grounder(Protocol):
    """Proposes one box per picture for its prompt."""

    @property
    def threshold(self) -> float:
        """The least score of a box that is used."""
        ...

    def propose(self, pictures: Sequence[bytes], product_types: Sequence[str]) -> Proposals:
        """The best box of each encoded picture; a picture that cannot be read is a problem, no error."""
        ...


@dataclass(frozen=True)
class Grounded:
    """The verdict on one picture: a box, or the whole picture and the reason for it."""

    box: tuple[float, float, float, float] | None
    score: float
    point: tuple[float, float] | None
    reason: str

    @property
    def fallback(self) -> bool:
        """Whether the whole picture is used."""
        return self.box is None


@dataclass(frozen=True)
class Examples:
    """Encoded pictures and their product types, for a grounder that has to learn what nothing scores."""

    pictures: Sequence[bytes]
    product_types: Sequence[str]


class EncoderGrounder:
    """Boxes from the similarity of the encoder's patches to the product type.

    Args:
        examples: whose grounds set ``threshold``; half of them only check it.

    Attributes:
        nothing: mean patches ``[rows, columns, D]`` of pictures of nothing.
        threshold: least contrast of similarity, inside minus outside.
        empty_fallback: share of the pictures of nothing that did not set it and fall below it; NaN if none.
    """

    def __init__(
        self, encoder: BatchEncoder, params: EncoderGrounding, threads: int, examples: Examples
    ) -> None:
        own = encoder.encoder.image_px
        self.image_px = params.image_px or own
        if self.image_px != own and encoder.encoder.heads is None:
            raise VlclipConfigurationError(
                f"ground.encoder.image_px is {self.image_px}, but this encoder's vision transformer takes "
                f"pictures of {own} px only; set it to null."
            )
        self.encoder, self.params, self.threads = encoder, params, threads
        self.windows = Windows(params.grid, params.smallest_side, params.level_deviations, params.compactness)
        self.nothing, self.threshold, self.empty_fallback = self._on_empty(examples)

    def _on_empty(self, examples: Examples) -> tuple[Patches, float, float]:
        """Mean patches of nothing, the threshold, and the share of other empty pictures below it."""
        known = [t for t in examples.product_types if t.strip()]
        with ThreadPoolExecutor(self.threads) as pool:
            squares = [s for s in pool.map(self._square, examples.pictures) if s is not None]
        if not squares or not known:
            raise GroundingDataError(
                f"The {self.params.empty.split} split has no readable picture of a known type to learn from "
                "what a picture of nothing scores; choose the other split in ground.encoder.empty.split."
            )
        rng = np.random.default_rng(self.params.empty.seed)
        pictures = empty_pictures(np.stack(squares), rng)
        patches = self.encoder.patch_vectors(pictures)
        half = np.arange(len(pictures)) % len(squares) % 2 == 1
        mean: Patches = patches[~half].mean(axis=0)
        types = [known[i % len(known)] for i in range(len(pictures))]
        _, contrast = self.windows.best(self._similarity(patches - mean, types))
        threshold = float(np.quantile(contrast[~half], self.params.empty.quantile))
        return mean, threshold, float(np.mean(contrast[half] < threshold)) if half.any() else float("nan")

    def _similarity(self, patches: Patches, product_types: Sequence[str]) -> Patches:
        types = sorted(set(product_types))
        number = {t: i for i, t in enumerate(types)}
        texts = self.encoder.texts(types)[[number[t] for t in product_types]]
        found: Patches = np.einsum("nhwd,nd->nhw", patches, texts, optimize=True)
        return found

    def maps(self, pixels: npt.NDArray[np.uint8], product_types: Sequence[str]) -> Patches:
        """How much more each patch says the product type than one of nothing, ``[N, rows, columns]``.

        What a patch of nothing says in its place (a convolution sees the picture's edge) is subtracted.
        """
        return self._similarity(self.encoder.patch_vectors(pixels) - self.nothing, product_types)

    def propose(self, pictures: Sequence[bytes], product_types: Sequence[str]) -> Proposals:
        """The best window of each map, drawn around what stands in it; the contrast is the score."""
        with ThreadPoolExecutor(self.threads) as pool:
            squares = list(pool.map(self._square, pictures))
            pixels = np.stack([s if s is not None else self._blank() for s in squares])
            maps = self.maps(pixels, product_types)
            boxes, contrast = self.windows.best(maps)
            if self.params.part_share is not None:
                boxes = np.array(list(pool.map(self._drawn, boxes, pixels)))
        return Proposals(boxes, contrast, peak(maps), ["" if s is not None else NO_PICTURE for s in squares])

    def _drawn(self, box: Sequence[float], picture: npt.NDArray[np.uint8]) -> tuple[float, ...]:
        assert self.params.part_share is not None
        return drawn_around(box, picture, self.params.part_share, self.params.part_area)

    def _blank(self) -> npt.NDArray[np.uint8]:
        return np.zeros((self.image_px, self.image_px, 3), dtype=np.uint8)

    def _square(self, data: bytes) -> npt.NDArray[np.uint8] | None:
        try:
            return square(data, self.image_px)
        except ImageError:
            return None


def judged(
    box: Sequence[float], score: float, point: Sequence[float], threshold: float, minimum_area: float
) -> Grounded:
    """Whether a proposed box may be used."""
    if not np.isfinite(score):
        return Grounded(None, 0.0, None, NOTHING)
    at = (float(point[0]), float(point[1])) if np.isfinite(point).all() else None
    inside = clipped(np.asarray(box, np.float64))
    if problem := box_problem(inside.tolist()):
        return Grounded(None, score, at, f"{BAD_BOX} {problem}")
    if score < threshold:
        return Grounded(None, score, at, LOW_SCORE)
    if areas(inside[None])[0] < minimum_area:
        return Grounded(None, score, at, SMALL)
    x0, y0, x1, y1 = (float(v) for v in inside)
    return Grounded((x0, y0, x1, y1), score, at, "")


def ground(
    grounder: Grounder,
    pictures: Sequence[bytes],
    product_types: Sequence[str],
    known_types: Collection[str],
    minimum_area: float,
) -> list[Grounded]:
    """Box or fallback of each picture; whatever is wrong with one of them, the others are grounded.

    Args:
        pictures: encoded. product_types: the prompts; an empty or unknown one asks for nothing.
        known_types: product types of the schema. minimum_area: share of the picture.
    """
    reasons = [_no_prompt(t, known_types) for t in product_types]
    asked = [i for i, reason in enumerate(reasons) if not reason]
    out = [Grounded(None, 0.0, None, reason) for reason in reasons]
    if not asked:
        return out
    found = grounder.propose([pictures[i] for i in asked], [product_types[i] for i in asked])
    for k, i in enumerate(asked):
        out[i] = (
            Grounded(None, 0.0, None, found.problems[k])
            if found.problems[k]
            else judged(
                found.boxes[k], float(found.scores[k]), found.points[k], grounder.threshold, minimum_area
            )
        )
    return out


def _no_prompt(product_type: str, known_types: Collection[str]) -> str:
    if not product_type.strip():
        return NO_TYPE
    return "" if product_type in known_types else UNKNOWN_TYPE
