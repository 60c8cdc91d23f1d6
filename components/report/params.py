"""Parameters of the report: what it shows, how much of it, and how large."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from components.stage.params import Params

HEADLINE_MAX = 12


class RetrievalGalleryParams(Params):
    """Which searches are shown: query, then the first products found."""

    metric: str  # per-query metric that tells success (above 0) from failure (0), e.g. hits_at_5
    scores: list[str]  # further per-query metrics printed with each search
    relevant_from: int = Field(ge=1, le=3)  # lowest grade that is marked as a hit; as the evaluation counts
    top: int = Field(ge=1, le=10)  # pictures per search
    failures: int = Field(ge=0)  # failed searches per kind of query, shown first
    successes: int = Field(ge=0)  # successful searches per kind of query


class GroundingGalleryParams(Params):
    """Which pointings are shown: the true box, the point found, and the box found."""

    failures: int = Field(ge=0)  # points outside the true box, shown first
    successes: int = Field(ge=0)


class CatalogueGalleryParams(Params):
    """Which products are shown with their seller's text."""

    per_type: int = Field(ge=0)  # products per product type
    types: int = Field(ge=0)  # product types, the largest first


class ReportParams(Params):
    """Block ``report`` of params.yaml."""

    title: str = Field(min_length=1)
    profile: str = Field(min_length=1)  # name of the profile, shown on the page
    seed: int = Field(ge=0)  # draws the samples of all galleries
    # System -> its main variant. A system `s` is read from metrics/s.json and results/per_query/s/s.parquet.
    systems: dict[str, str] = Field(min_length=1)
    pretrained: bool  # False: a variant named `untrained` is labelled as having no pretrained weights
    curves: list[str]  # stages whose plots/STAGE.csv is drawn
    quality: list[str]  # gates whose reports/quality/GATE.json is summed up
    # Name in metrics/headline.json -> system.variant.metric
    headline: dict[str, str] = Field(min_length=1, max_length=HEADLINE_MAX)
    retrieval: RetrievalGalleryParams
    grounding: GroundingGalleryParams
    catalogue: CatalogueGalleryParams
    thumbnail_px: int = Field(ge=16, le=1024)  # longer side of every picture
    jpeg_quality: int = Field(ge=10, le=95)
    text_chars: int = Field(ge=20)  # longer titles and descriptions are cut
    curve_points: int = Field(ge=10)  # longer curves are averaged down to this many points
    max_page_bytes: int = Field(ge=10_000)  # a larger page is refused

    @field_validator("headline")
    @classmethod
    def _three_parts(cls, headline: dict[str, str]) -> dict[str, str]:
        for name, source in headline.items():
            if source.count(".") < 2:
                raise ValueError(f"'{name}: {source}' must name system.variant.metric")
        return headline

    @model_validator(mode="after")
    def _headline_of_known_systems(self) -> Self:
        for name, source in self.headline.items():
            if source.split(".")[0] not in self.systems:
                raise ValueError(f"headline '{name}: {source}' names a system that is not under systems")
        return self
