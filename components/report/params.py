"""Parameters of the report: what it shows, how much of it, and how large."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, field_validator, model_validator

from components.stage.params import Params, Share, read_yaml

# What a run's page claims, a file for each kind of catalogue: systems, headline and claims.
CLAIMS = Path(__file__).with_name("claims")
CLAIM_KEYS = ("systems", "headline", "claims")
HEADLINE_MAX = 12
CLAIM_N = 1_000  # fewer paired cases than this are an indication, not a claim


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]  # of a system: a file, an anchor
Standing = Literal["shown", "open", "level", "opposite"]


class Claim(Params):
    """A sentence that the paired tests must confirm: ``ours`` is ``relation`` ``baseline`` on ``metric``."""

    system: Name
    metric: str
    ours: str
    relation: Literal["above", "below", "not_below", "not_above"]
    baseline: str

    def standing(self, low: float, high: float, margin: float) -> Standing:
        """What the 95% interval of ``ours − baseline`` says: the claim, nothing either way, or its opposite.

        above and below need the whole interval on their side of zero; not_below and not_above (no loss that
        matters) need it on their side of ``margin``.
        """
        if self.relation in ("below", "not_above"):
            low, high = -high, -low
        bound = 0.0 if self.relation in ("above", "below") else -margin
        holds = low > bound or (bound < 0 and low == bound)
        return "shown" if holds else "opposite" if high < bound else "open"


class SearchGalleryOf(Params):
    """How successful searches of a system are told from failed ones."""

    metric: str  # per-query metric that decides about success
    success_from: float = Field(gt=0)  # lowest value of a success; mrr from 0.2: a hit among the first five


class RetrievalGalleryParams(Params):
    """Which searches are shown: query, then the first products found."""

    # those whose per-query file holds rankings; mrr from 0.2: a hit among the first five
    systems: dict[Name, SearchGalleryOf] = {
        "encoder": SearchGalleryOf(metric="hits_at_5", success_from=1.0),
        "vlclip": SearchGalleryOf(metric="hits_at_5", success_from=1.0),
        "fusion": SearchGalleryOf(metric="mrr", success_from=0.2),
    }
    # further per-query metrics printed with each search, where a system has them
    scores: list[str] = ["mrr", "ndcg_at_10"]
    # lowest grade that is marked as a hit; as the evaluation counts
    relevant_from: int = Field(3, ge=1, le=3)
    top: int = Field(5, ge=1, le=10)  # pictures per search
    # failed searches per kind of query, shown first: half of them found by the baseline of the first claim
    failures: NonNegativeInt = 4
    successes: NonNegativeInt = (
        3  # successful ones per kind of query: half of them not found by that baseline
    )


class GroundingGalleryParams(Params):
    """Which pointings are shown: the true box, the point found, and the box found."""

    # Folder under results/per_query whose pointing.parquet is shown -> variant shown
    variants: dict[Name, str] = {"vlclip": "dense_head"}
    minimum_iou: Share = 0.5  # a box that overlaps the true one by less counts as missed
    fallbacks: NonNegativeInt = 3  # pictures where no box was found, shown first
    failures: NonNegativeInt = 9  # misses: points outside the true box, or boxes below minimum_iou
    successes: NonNegativeInt = 6
    unjudged: NonNegativeInt = 9  # boxes of data/grounding shown where the catalogue has no true ones


class ListingGalleryParams(Params):
    """Which generated listings are shown beside what the seller wrote and what is true."""

    variant: str = "dpo"
    count: NonNegativeInt = 30  # drawn at random from all that were written, good and bad alike
    picture_px: int = Field(192, ge=16, le=1024)  # longer side: a listing is judged by its photo


class GatePlotParams(Params):
    """Which network's gate is drawn, from results/per_query/SYSTEM/gates.parquet."""

    system: Name = "fusion"
    variant: str = "moe_bilinear"


class CatalogueGalleryParams(Params):
    """Which products are shown with their seller's text."""

    per_type: NonNegativeInt = 2  # products per product type
    types: NonNegativeInt = 12  # product types, the largest first


class ReportParams(Params):
    """Block ``report`` of params.yaml: ``claims: X`` stands for what components/report/claims/X.yaml says."""

    title: str = Field("Vitrine, the demo shop", min_length=1)
    profile: str = Field("demo", min_length=1)  # name of the profile, shown on the page
    seed: NonNegativeInt = 7  # draws the samples of all galleries
    # System -> its main variant. A system `s` is read from metrics/s.json.
    systems: dict[Name, str] = Field(min_length=1)
    claims: list[Claim]  # the headline table, on the page and on the terminal
    claim_margin: NonNegativeFloat = 0.01  # a loss up to this counts as none: not_below, not_above
    pretrained: bool = False  # False: a variant named `untrained` is labelled as having learned nothing yet
    # stages whose plots/STAGE.csv is drawn
    curves: list[str] = [
        "encoder",
        "vlclip_raw",
        "vlclip_full",
        "align_text",
        "align_image",
        "fuse_concat_mlp",
        "fuse_moe_bilinear",
        "sft_raw",
        "sft_refined",
        "dpo",
    ]
    # gates whose reports/quality/GATE.json is summed up
    quality: list[str] = ["catalog", "embeddings", "refined", "preferences"]
    # Name in metrics/headline.json -> system.variant.metric
    headline: dict[str, str] = Field(min_length=1, max_length=HEADLINE_MAX)
    retrieval: RetrievalGalleryParams = RetrievalGalleryParams()
    grounding: GroundingGalleryParams = GroundingGalleryParams()
    listings: ListingGalleryParams | None = ListingGalleryParams()  # null: no gallery of generated listings
    gates: GatePlotParams | None = GatePlotParams()  # null: no plot of gate weights
    catalogue: CatalogueGalleryParams = CatalogueGalleryParams()
    thumbnail_px: int = Field(128, ge=16, le=1024)  # longer side of every picture
    jpeg_quality: int = Field(78, ge=10, le=95)
    text_chars: int = Field(160, ge=20)  # longer titles and descriptions are cut
    curve_points: int = Field(200, ge=10)  # longer curves are averaged down to this many points
    max_page_bytes: int = Field(3_000_000, ge=10_000)  # a larger page is refused

    @model_validator(mode="before")
    @classmethod
    def _claims_of_a_file(cls, values: Any) -> Any:
        """Read what is claimed from the file that ``claims`` names; a key given here replaces the file's."""
        if not isinstance(values, Mapping) or not isinstance(values.get("claims", "demo"), str):
            return values
        name = values.get("claims", "demo")
        if name not in (known := sorted(path.stem for path in CLAIMS.glob("*.yaml"))):
            raise ValueError(f"claims: there is no {CLAIMS.name}/{name}.yaml (there are: {', '.join(known)})")
        held = read_yaml(CLAIMS / f"{name}.yaml")
        if unknown := set(held) - set(CLAIM_KEYS):
            raise ValueError(f"claims/{name}.yaml: unknown key {', '.join(map(str, sorted(unknown)))}")
        return {**held, **{key: value for key, value in values.items() if key != "claims"}}

    @field_validator("headline")
    @classmethod
    def _three_parts(cls, headline: dict[str, str]) -> dict[str, str]:
        for name, source in headline.items():
            if source.count(".") < 2:
                raise ValueError(f"'{name}: {source}' must name system.variant.metric")
        return headline

    @model_validator(mode="after")
    def _only_known_systems(self) -> Self:
        named = {f"headline.{name}": source.split(".")[0] for name, source in self.headline.items()}
        named |= {f"claims.{i}": claim.system for i, claim in enumerate(self.claims)}
        named |= {f"retrieval.systems.{name}": name for name in self.retrieval.systems}
        for where, system in named.items():
            if system not in self.systems:
                raise ValueError(f"{where} names '{system}', which is not under systems")
        return self
