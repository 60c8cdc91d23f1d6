"""Parameters of the catalogue stage (block ``catalog`` of params.yaml)."""

from __future__ import annotations

from pydantic import PositiveInt

from components.catalog.noise.params import NoiseParams, PhotoNoiseParams
from components.catalog.source.params import SourceParams


class CatalogParams(SourceParams):
    """Everything that decides the bytes of ``data/catalog`` besides the source itself."""

    rows_per_shard: PositiveInt = 4096
    noise: NoiseParams | None = NoiseParams()  # null leaves listings as the source has them
    photo_noise: PhotoNoiseParams | None = None  # null leaves photos as the source has them
