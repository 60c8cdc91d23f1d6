"""Parameters of the catalogue stage (block ``catalog`` of params.yaml)."""

from __future__ import annotations

from pydantic import Field

from components.catalog.noise.params import NoiseParams
from components.catalog.source.params import SourceParams
from components.shop.params import ShopParams


class CatalogParams(SourceParams):
    """Everything that decides the bytes of ``data/catalog`` besides the source itself."""

    rows_per_shard: int = Field(ge=1)
    noise: NoiseParams | None  # null leaves listings as the source has them
    shop: ShopParams | None  # read for a synthetic source only
