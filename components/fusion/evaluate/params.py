"""Parameters of the evaluation of fusion retrieval."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from components.catalog.noise.params import NoiseParams
from components.fusion.model.params import EncodeParams, NetworkName
from components.stage.params import Params, Share

DEGRADED = NoiseParams(
    attribute_dropped=0.5,
    attribute_wrong=0.1,
    attribute_free_form=0.1,
    synonym=0.5,
    misspelling=0.5,
    shouting=0.2,
    boilerplate=0.5,
    keyword_stuffing=0.3,
    title_missing=0.2,
    description_missing=0.4,
    test_only=(),
)


class FusionEvaluationParams(Params):
    """Block ``fusion_eval``: what is measured on the held-out split."""

    seed: int = 53
    threads: PositiveInt = 1
    split: Literal["validation", "test"] = "test"
    relevant_grade: int = Field(3, ge=1, le=3)  # from which relevance a product counts for recall and MRR
    bootstrap_samples: int = Field(2000, ge=100)
    networks: tuple[NetworkName, ...] = ("concat_mlp", "moe_bilinear")
    # tried for fixed_weights, on validation
    text_shares: tuple[Share, ...] = Field((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), min_length=1)
    weight_steps: PositiveInt = 10  # tried for hybrid_image, on validation: weights in steps of 1 / this
    sparse_share: float = Field(0.25, gt=0, lt=1)  # products with the fewest words, as a share of the split
    missing_share: float = Field(0.5, gt=0, le=1)  # products that lose their picture, or their text
    noise: NoiseParams = DEGRADED  # what the degraded text suffers on top of what the catalogue has
    gate_top: PositiveInt = 10  # ranked products per query whose gates are kept
    encode: EncodeParams = EncodeParams()
