"""Where a product is in its picture, asked with nothing but its product type, or with its category.

VL-CLIP (arXiv 2507.17080): prompt = product type only; the most confident box is used, and the whole
picture below a threshold. The protocol has two kinds of implementations: a dense head on the encoder's maps
(:mod:`components.grounding.dense`) and open-vocabulary detectors
(:mod:`components.grounding.detectors`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from components.catalog.format.errors import ImageError
from components.catalog.format.images import decode_image
from components.encoder.model.crops.boxes import Boxes, areas, box_problem, centre_boxes, clipped
from components.encoder.model.features.pixels import LIMITS

if TYPE_CHECKING:
    from PIL import Image

NO_TYPE = "no product type"
UNKNOWN_TYPE = "product type is not in the schema"
NO_PICTURE = "picture cannot be read"
NOT_LEARNED = "product type was in no scene, nor one that is like it"
NOTHING = "nothing found"
BAD_BOX = "box"
LOW_SCORE = "score is below the threshold"
SMALL = "box is smaller than the minimum area"


class AnyOf(NamedTuple):
    """A prompt for what is of any of several product types, such as those of a category.

    A detector reads the ``name``, a dense head sums the maps of the ``types``.
    """

    name: str
    types: tuple[str, ...]


Prompt = str | AnyOf  # a string is a product type


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

    threshold: float  # least score of a box that is used

    def propose(self, pictures: Sequence[bytes], prompts: Sequence[Prompt]) -> Proposals:
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


class CentreGrounder:
    """The middle of every picture: what is left where nothing can be taught.

    Args:
        side: of the crop, as a share of the picture's width and height.
    """

    threshold = 0.0

    def __init__(self, side: float) -> None:
        self.side = side

    def propose(self, pictures: Sequence[bytes], prompts: Sequence[Prompt]) -> Proposals:
        """The same box for each picture that can be read, with score 0."""
        count = len(pictures)
        problems = [NO_PICTURE if readable(data, 1) is None else "" for data in pictures]
        points = np.full((count, 2), 0.5)
        return Proposals(centre_boxes(count, self.side), np.zeros(count), points, problems)


def readable(data: bytes, target_px: int) -> Image.Image | None:
    """An encoded picture, decoded at about ``target_px``; None where it cannot be read."""
    try:
        return decode_image(data, LIMITS, target_px=target_px)
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
    prompts: Sequence[Prompt],
    known_types: Collection[str],
    minimum_area: float,
) -> list[Grounded]:
    """Box or fallback of each picture; whatever is wrong with one of them, the others are grounded.

    Args:
        pictures: encoded. prompts: an empty or unknown type asks for nothing.
        known_types: product types of the schema. minimum_area: share of the picture.
    """
    out = [Grounded(None, 0.0, None, _no_prompt(prompt, known_types)) for prompt in prompts]
    asked = [i for i, one in enumerate(out) if not one.reason]
    if not asked:
        return out
    found = grounder.propose([pictures[i] for i in asked], [prompts[i] for i in asked])
    for k, i in enumerate(asked):
        proposed = found.boxes[k], float(found.scores[k]), found.points[k]
        if problem := found.problems[k]:
            out[i] = Grounded(None, 0.0, None, problem)
        else:
            out[i] = judged(*proposed, grounder.threshold, minimum_area)
    return out


def _no_prompt(prompt: Prompt, known_types: Collection[str]) -> str:
    types = (prompt,) if isinstance(prompt, str) else prompt.types
    if not any(kind.strip() for kind in types):
        return NO_TYPE
    return "" if any(kind in known_types for kind in types) else UNKNOWN_TYPE
