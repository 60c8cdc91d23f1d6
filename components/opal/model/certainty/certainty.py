"""What a model folder says of how far its model can be trusted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import NonNegativeFloat, NonNegativeInt

from components.catalog.format.attributes import facts
from components.opal.model.certainty.calibration import Calibration, Value
from components.opal.model.certainty.likeness import Likeness
from components.opal.model.certainty.promise import Curve
from components.opal.model.errors import ListingModelFileError
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.language.pictures import tower_of
from components.opal.model.language.value_heads import TYPE as HEAD_TYPE
from components.opal.model.listing_text import Listing, compact_json
from components.opal.model.writing.generate import Generated
from components.opal.model.writing.head_margins import Lead
from components.stage.errors import ConfigurationError
from components.stage.files.model_files import read_json
from components.stage.params import Params, validate

FILE, PICTURES = "certainty.json", "known_pictures.safetensors"
FORMAT: Literal[1] = 1
TYPE = "(product type)"  # among the attributes of a calibration
Titled = Callable[[str, Listing], Listing]
SAID_TYPE = "type"  # among the confidences of an answer, unless an attribute is called so


class CalibrationSample(Params):
    """What the calibration was learned from: validation products, judged against refined listings."""

    products: NonNegativeInt = 0
    groups: NonNegativeInt = 0
    values: NonNegativeInt = 0  # that refined listings tell right from wrong
    silent: NonNegativeInt = 0  # others: refined listings lack the attribute


class CertaintyFile(Params):
    """``certainty.json``."""

    format: Literal[1] = FORMAT
    calibration: Calibration = Calibration()
    curve: Curve = Curve()
    measured: CalibrationSample = CalibrationSample()
    # a picture more unlike the training pictures than this is described by nothing; null: not measured
    most_unlike: NonNegativeFloat | None = None


@dataclass(frozen=True)
class Certainty:
    """How far a model can be trusted. ``likeness`` is None where its trunk is another library's."""

    file: CertaintyFile
    likeness: Likeness | None = None

    def calibrated(
        self, generated: Sequence[Generated], categories: Sequence[str], titled: Titled | None = None
    ) -> list[Generated]:
        """The same answers; a confidence in a value is now the probability that the value is right.

        Where what the value heads would have said is likelier right, it stands in a value's place.

        Args:
            titled: gives the listing of a category its title anew after a value has changed.
        """
        out = []
        for one, category in zip(generated, categories, strict=True):
            values = values_of(one, category, "")
            chances = self.file.calibration.probability(with_others(values))
            least: dict[str, float] = {}  # of several values of an attribute
            changed: dict[str, str] = {}
            for value, (kept, chance) in zip(values, likelier(values, chances), strict=True):
                name = SAID_TYPE if value.name == TYPE else value.name
                least[name] = min(chance, least.get(name, 1.0))
                if kept is not value:
                    changed[name] = kept.value
            sure = replace(one, confidence={**one.confidence, **least})
            out.append(_changed(sure, changed, category, titled) if changed else sure)
        return out

    def unlike(self, model: ListingModel, pixels: npt.NDArray[np.uint8]) -> list[bool]:
        """Whether each square picture ``[N, px, px, 3]`` is unlike all that the model was taught with."""
        if self.likeness is None or self.file.most_unlike is None:
            return [False] * len(pixels)
        features = tower_of(model.model).seeing.pixel_features(pixels)
        return [bool(far > self.file.most_unlike) for far in self.likeness.unlikeness(features)]

    def save(self, folder: Path) -> None:
        """Write it into a model folder that is being made."""
        text = json.dumps(self.file.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")
        if self.likeness is not None:
            self.likeness.save(folder / PICTURES)


def with_others(values: Sequence[Value]) -> list[Value]:
    """The values, and beside them those that the heads would have said."""
    return [each for value in values for each in (value, value.other) if each is not None]


def likelier(values: Sequence[Value], chances: Iterable[float]) -> list[tuple[Value, float]]:
    """Of each value and what the heads would have said the one that is likelier right, and its probability.

    Args:
        chances: of :func:`with_others`.
    """
    chance, out = iter(chances), []
    for value in values:
        found = value, float(next(chance))
        if value.other is not None and (theirs := float(next(chance))) > found[1]:
            found = value.other, theirs
        out.append(found)
    return out


def _changed(one: Generated, changed: Mapping[str, str], category: str, titled: Titled | None) -> Generated:
    """The answer with some of its values changed, in its text too."""
    assert one.listing is not None
    said = json.loads(one.text)
    said["attributes"] |= changed
    listing = replace(one.listing, attributes={**one.listing.attributes, **changed})
    return replace(one, text=compact_json(said), listing=titled(category, listing) if titled else listing)


def values_of(generated: Generated, category: str, group: str) -> list[Value]:
    """The values that an answer states, and its type, with the model's own confidence, not yet judged.

    Where its value heads would have said another value of an attribute, that one stands beside it.
    """
    if generated.listing is None:
        return []
    sure, said = generated.confidence, generated.listing.attributes
    product_type = generated.listing.product_type
    values = [
        _beside(Value(category, n, value, sure[n], group, None, product_type), generated.seen.get(n))
        for n, value in facts(said)
        if n in sure
    ]
    if product_type and SAID_TYPE in sure and SAID_TYPE not in said:
        lead = generated.seen.get(HEAD_TYPE)
        stated = Value(category, TYPE, product_type, sure[SAID_TYPE], group)
        values.append(stated._replace(seen=lead[:2]) if lead else stated)
    return values


def _beside(value: Value, lead: Lead | None) -> Value:
    """The value with what the heads think of it, and what they would have said in its place.

    How sure the model is of any other value is not known: the rest of its confidence is shared among them.
    """
    if lead is None:
        return value
    value = value._replace(seen=(lead.lead, lead.there))
    if not lead.other:
        return value
    shared = (1 - value.confidence) / max(lead.values - 1, 1)
    return value._replace(
        other=value._replace(value=lead.other, confidence=shared, seen=(lead.other_lead, lead.there))
    )


def read_certainty(folder: Path) -> Certainty | None:
    """What a model folder says; None of a model of an earlier version, which says nothing.

    Raises:
        ListingModelFileError: a file cannot be read, or says something impossible.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        found = validate(CertaintyFile, read_json(file), str(file))
    except (OSError, ValueError) as error:
        raise ListingModelFileError(
            f"{file} cannot be read: {error}; train or pull the model again."
        ) from None
    except ConfigurationError as error:
        raise ListingModelFileError(f"{error} Train or pull the model again.") from None
    if found.most_unlike is None:
        return Certainty(found)
    return Certainty(found, Likeness.load(folder / PICTURES))
