"""Pairs of a model's own answers about a photo, judged from outside its belief.

Three kinds, all of sampled answers about photos that tuning never saw (``listing.taught.unseen``):

- ``verified``: two sampled answers differ, and the pictures of other products tell which value the picture
  supports (components/evidence).
- ``views``: the model is asked about several views of one photo; the value that most views give is preferred
  to the value of another view.
- ``corrected``: its own answer with wrong values replaced by those of the refined listing.

Both sides state the same attributes in the same order, so that nothing but values tells them apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from components.catalog.format.attributes import Value
from components.catalog.format.schema import CatalogSchema
from components.encoder.model.features.pixels import PixelCache
from components.opal.model.language.pictures import Pictures
from components.opal.model.listing_text import Listing, answer_text, schema_problems
from components.opal.model.preferences.pairs import ListingQuestion, PreferencePair, contradicting
from components.opal.model.preferences.verifier import PictureVerifier
from components.opal.model.writing.generate import Generated, ListingGenerator

REASONS = {
    "verified": "the picture speaks against",
    "views": "most views say otherwise",
    "corrected": "contradicts",
}
Ints = npt.NDArray[np.int64]
Judged = tuple[Listing, Mapping[str, Value], Mapping[str, Value]]  # an answer, better values and worse ones


def verified(
    position: int, answers: Sequence[Listing | None], verifier: PictureVerifier, margin: float
) -> Judged | None:
    """The first of two answers, with the values that the picture supports and with the others."""
    first, second = answers
    if first is None or second is None:
        return None
    supported, refuted = verifier.told_apart(position, first.attributes, second.attributes, margin)
    return (first, supported, refuted) if supported else None


def agreed(answers: Sequence[Listing | None]) -> Judged | None:
    """The answer about the first view, with the values of most views and with one that fewer gave."""
    listings = [listing for listing in answers if listing is not None]
    first = answers[0]
    if first is None:
        return None
    better: dict[str, Value] = {}
    worse: dict[str, Value] = {}
    for name, own in first.attributes.items():
        votes = Counter(x.attributes[name] for x in listings if name in x.attributes).most_common()
        usual, count = votes[0]
        if 2 * count > len(answers) and len(votes) > 1:
            better[name], worse[name] = usual, own if own != usual else votes[-1][0]
    return (first, better, worse) if better else None


def corrected(answer: Listing | None, refined: Listing) -> Judged | None:
    """An answer with the values of the refined listing in place of wrong ones, and as it was."""
    if answer is None:
        return None
    wrong = {n: v for n, v in answer.attributes.items() if refined.attributes.get(n, v) != v}
    return (answer, {name: refined.attributes[name] for name in wrong}, wrong) if wrong else None


class OwnAnswers:
    """What the model says about photos: sampled answers, and greedy ones about views of a photo.

    Args:
        pictures: of the catalogue as the model reads them. pixels: the same, decoded, for views.
    """

    def __init__(
        self, sampling: ListingGenerator, greedy: ListingGenerator, pictures: Pictures, pixels: PixelCache
    ) -> None:
        self.sampling, self.greedy = sampling, greedy
        self.pictures, self.pixels = pictures, pixels

    def sampled(self, rows: Ints, categories: Sequence[str]) -> list[Listing | None]:
        """An answer about each picture; None where it is cut or no listing."""
        written = self.sampling(self.pictures.take(rows), categories, constrained=False)
        return [usable(generated) for generated in written]

    def of_views(
        self, rows: Ints, categories: Sequence[str], count: int, seed: int
    ) -> list[tuple[Listing | None, ...]]:
        """For each picture the answers about ``count`` views of it, the picture itself first."""
        shown = views(self.pixels.take(rows), count, seed)
        written = [self.greedy(view, categories, constrained=False) for view in shown]
        return [tuple(usable(generated) for generated in one) for one in zip(*written, strict=True)]


def usable(generated: Generated) -> Listing | None:
    """The listing of an answer; None of one that was cut, or is no text: read again it could be longer."""
    return generated.listing if generated.ended and "\ufffd" not in generated.text else None


def judged_pair(
    schema: CatalogSchema, asked: ListingQuestion, judged: Judged, kind: str
) -> PreferencePair | None:
    """The pair of both sides; None where the better one does not fit the schema, or says the same.

    Args:
        asked: whose listing is the refined one, which is not read here.
    """
    base, better, worse = judged
    chosen, rejected = (contradicting(base, values) or base for values in (better, worse))
    titled = bool(chosen.title)
    if schema_problems(schema, asked.category, chosen, require=False, titled=titled):
        return None
    texts = [answer_text(side, schema.categories[asked.category]) for side in (chosen, rejected)]
    if texts[0] == texts[1]:
        return None
    checks = tuple(f"{REASONS[kind]}: {name}" for name in sorted(better) if better[name] != worse[name])
    return PreferencePair(asked.product_id, asked.category, asked.prompt, texts[0], texts[1], kind, checks)


def views(pixels: npt.NDArray[np.uint8], count: int, seed: int) -> list[npt.NDArray[np.uint8]]:
    """``count`` views of square pictures ``[N, px, px, 3]``: as they are, then mirrored and cropped ones.

    A crop keeps 70 to 95% of either side, and is stretched to the square again. Every other view is mirrored.
    """
    random = np.random.default_rng(seed)
    out, side = [pixels], pixels.shape[1]
    for view in range(1, count):
        shown = pixels[:, :, ::-1] if view % 2 else pixels
        kept = max(1, round(side * float(random.uniform(0.7, 0.95))))
        top, left = random.integers(0, side - kept + 1, size=2)
        crops = shown[:, top : top + kept, left : left + kept]
        out.append(np.stack([_stretched(crop, side) for crop in crops]))
    return out


def _stretched(crop: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    image = Image.fromarray(np.ascontiguousarray(crop))
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))
