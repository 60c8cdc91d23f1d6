"""Say only what is sure enough: values below a threshold are left out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from components.opal.model.certainty.certainty import SAID_TYPE, Certainty
from components.opal.model.certainty.promise import NOWHERE
from components.opal.model.listing_text import Listing, compact_json
from components.opal.model.writing.generate import Generated

Titled = Callable[[Listing], Listing]


@dataclass(frozen=True)
class StatedAnswer:
    """An answer without its doubtful values.

    ``left_out`` is attribute to the probability of the value that was not stated. ``unlike``: the picture is
    unlike every training picture, so nothing is stated.
    """

    generated: Generated
    left_out: Mapping[str, float] = field(default_factory=dict)
    unlike: bool = False


def threshold_of(certainty: Certainty, precision: float | None, completion: float | None) -> float:
    """The least probability of a value that is stated; zero states all.

    Args:
        precision: promised share of right values. completion: or the share of fields to fill.

    Returns:
        Above 1, so that nothing is stated, where the model can promise nothing as high.
    """
    curve = certainty.file.curve
    if completion is not None:
        return curve.for_completion(completion)
    if precision is None:
        return 0.0
    return curve.for_precision(precision)


def about_point(certainty: Certainty | None, precision: float | None, completion: float | None) -> str:
    """A sentence on what is stated, and where a promise cannot be kept, what could be."""
    if certainty is None:
        return (
            "This model is of an earlier version: its confidence is not calibrated, and nothing is left out."
        )
    if completion is not None:
        return f"Stated are the surest values that fill {completion:.0%} of the fields."
    if precision is None:
        return "Every value is stated."
    if threshold_of(certainty, precision, None) < NOWHERE:
        return f"Stated are the values of which at most {1 - precision:.0%} are wrong."
    best = 1 - min(certainty.file.curve.bound, default=1.0)
    least = (
        f"the most it can promise is {math.floor(100 * best)}%" if best >= 0.01 else "it can promise nothing"
    )
    return (
        f"This model cannot promise that {precision:.0%} of the values are right ({least}, learned from "
        f"{certainty.file.measured.products:,} products), so none is stated: ask for less, or --completion."
    )


def without_doubtful(
    generated: Sequence[Generated], threshold: float, unlike: Sequence[bool], titled: Titled
) -> list[StatedAnswer]:
    """Leave out every value whose probability is below ``threshold``, and all where a picture is ``unlike``.

    Args:
        generated: of one category, with calibrated confidences. A value without one cannot be placed and is
            left out too, unless everything is stated. titled: gives a listing a title of what it says.
    """
    pairs = zip(generated, unlike, strict=True)
    return [_kept(one, threshold, bool(flag), titled) for one, flag in pairs]


def _kept(one: Generated, threshold: float, unlike: bool, titled: Titled) -> StatedAnswer:
    if one.listing is None:
        return StatedAnswer(one, unlike=unlike)
    said, sure = one.listing.attributes, one.confidence
    kept = {n: v for n, v in said.items() if not unlike and sure.get(n, 0.0) >= threshold}
    left_out = {name: sure.get(name, 0.0) for name in said if name not in kept}
    product_type = one.listing.product_type
    if product_type and SAID_TYPE not in said and (unlike or sure.get(SAID_TYPE, 0.0) < threshold):
        left_out[SAID_TYPE], product_type = sure.get(SAID_TYPE, 0.0), ""
    confidence = {name: chance for name, chance in sure.items() if name not in left_out}
    listing = replace(one.listing, attributes=kept, product_type=product_type)
    if left_out:  # what is not stated is no part of the title either
        listing = titled(listing)
    text = compact_json({**_without(one.text, left_out), "title": listing.title})
    return StatedAnswer(replace(one, listing=listing, text=text, confidence=confidence), left_out, unlike)


def _without(text: str, left_out: Mapping[str, float]) -> dict[str, object]:
    """The object that an answer is, without some of its attributes, or its type."""
    said = json.loads(text)
    kept = {name: value for name, value in said["attributes"].items() if name not in left_out}
    typed = SAID_TYPE in left_out and SAID_TYPE not in said["attributes"]
    return {**{k: v for k, v in said.items() if k != SAID_TYPE or not typed}, "attributes": kept}
