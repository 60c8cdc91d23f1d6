"""The model before its first step, and the pictures that it will be shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from components.encoder.model.towers.files import load_encoder
from components.opal.model.language.listing_model import ListingModel, Material, create_listing_model
from components.opal.model.language.pictures import Pictures
from components.opal.model.listings import Lesson
from components.opal.model.params import ListingParams
from components.opal.model.sft.samples import Lessons, Sample
from components.stage.paths import Paths


def note_of(params: ListingParams, image_px: int, lesson: Lesson, crop: bool = False) -> dict[str, Any]:
    """What listing.json says: how the model is to be asked; ``crop`` as of :class:`Note`."""
    return {
        "prompt": params.prompt,
        "taught": params.taught.model_dump(mode="json"),
        "titles": lesson.titles.model_dump(mode="json"),
        "attributes": {category: list(names) for category, names in lesson.attributes.items()},
        "image_px": image_px,
        "crop": crop,
        "base": params.pretrained.model if params.pretrained else None,
        "max_title_chars": params.max_title_chars,
        "max_new_tokens": params.max_new_tokens,
        "require_attributes": params.require_attributes,
        "precision": params.precision,
    }


def starting_model(
    params: ListingParams, lessons: Lessons, samples: Sequence[Sample], paths: Paths
) -> tuple[ListingModel, Pictures]:
    """The untrained (or pretrained) model, and the catalogue's pictures as it reads them.

    Args:
        lessons: whose texts the small model's tokenizer is learned from. samples: whose pictures the image
            tower's tokens are whitened on.
    """
    loaded = load_encoder(paths.encoder)
    seen = sorted({sample.position for sample in samples})
    chosen = np.random.default_rng(params.seed).permutation(seen)[: params.vision.whitening_pictures]
    texts = lessons.texts() if params.pretrained is None else []
    return create_listing_model(params, loaded, Material(texts, np.sort(chosen), lessons.values), paths)
