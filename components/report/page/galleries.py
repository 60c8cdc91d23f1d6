"""The examples of all pages, with the listings and thumbnails that they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.catalog.format.records import Product, Truth
from components.report.catalogue import CheckedCatalogue, listings, read_truth
from components.report.figures.claims import JudgedClaim
from components.report.figures.gate_plot import GatePlot, gate_plot
from components.report.figures.key_figures import first_baseline
from components.report.galleries.catalogue import shown_products
from components.report.galleries.grounding import (
    GroundingGallery,
    PointingFiles,
    grounding_gallery,
    unjudged_gallery,
)
from components.report.galleries.listings import ListingGallery, listing_gallery
from components.report.galleries.pictures import product_picture
from components.report.galleries.retrieval import RetrievalGallery, read_searches, retrieval_gallery
from components.report.params import ReportParams
from components.stage.files.thumbnails import Thumbnail
from components.stage.paths import Paths


@dataclass(frozen=True)
class Galleries:
    """What is shown of each kind; listings and pictures by product id."""

    searches: list[RetrievalGallery]
    groundings: list[GroundingGallery]
    generated: ListingGallery | None
    gates: GatePlot | None
    catalogue: dict[str, Any]  # what the catalogue's page shows
    listings: dict[str, Product]
    pictures: dict[str, Thumbnail]


def _tells_more(truth: Truth, listing: Product) -> bool:
    """Whether the truth of a product is anything but what its seller wrote."""
    seen = truth.scene != "unknown" or bool(truth.noise)
    return seen or truth.attributes not in ({}, listing.attributes) or truth.title not in ("", listing.title)


def read_galleries(
    paths: Paths, params: ReportParams, checked: CheckedCatalogue, claims: list[JudgedClaim]
) -> Galleries:
    """Draw the examples.

    Raises:
        ReportInputError: a file is missing, broken, or of another catalogue.
    """
    searches, groundings = _searches(paths, params, checked, claims), _groundings(paths, params, checked)
    generated = (
        listing_gallery(paths.per_query / "listing", params.listings, params.seed, checked)
        if params.listings
        else None
    )
    gates = None
    if params.gates:
        path = paths.per_query / params.gates.system / "gates.parquet"
        gates = gate_plot(path, params.gates.system, params.gates.variant)
    shown = shown_products(checked, params.catalogue, params.seed)
    in_catalogue = {each for ids in shown.values() for each in ids}
    needed = {p for gallery in searches for p in gallery.products()} | in_catalogue
    needed |= {pointing.product_id for gallery in groundings for pointing in gallery.pointings}
    larger = {case.product_id for case in generated.cases} if generated else set()
    needed |= larger
    listed = {listing.product_id: listing for listing in listings(checked.reader, needed)}
    true = read_truth(paths.truth / "truth.parquet", in_catalogue)
    if not any(_tells_more(known, listed[each]) for each, known in true.items()):
        true = {}  # what sellers wrote stands in for it
    catalogue = {"shown": shown, "has_truth": bool(true), "truth": true}
    size = params.listings.picture_px if params.listings else 0
    pictures = {
        each: product_picture(
            each, listing.image, size if each in larger else params.thumbnail_px, params.jpeg_quality
        )
        for each, listing in listed.items()
    }
    catalogue["further"] = {
        each: [
            product_picture(each, data, params.thumbnail_px, params.jpeg_quality)
            for data in listed[each].more_images
        ]
        for each in in_catalogue
    }
    return Galleries(searches, groundings, generated, gates, catalogue, listed, pictures)


def _searches(
    paths: Paths, params: ReportParams, checked: CheckedCatalogue, claims: list[JudgedClaim]
) -> list[RetrievalGallery]:
    """Searches of every system that ranks products, beside those of what its first claim names."""
    found = []
    for system, success in params.retrieval.systems.items():
        subject = params.systems[system]
        path = paths.per_query / system / f"{system}.parquet"
        searches = read_searches(path, subject, success.metric, first_baseline(system, subject, claims))
        found.append(retrieval_gallery(searches, params.retrieval, params.seed, checked))
    return found


def _groundings(paths: Paths, params: ReportParams, checked: CheckedCatalogue) -> list[GroundingGallery]:
    """Boxes beside true ones; where no true one is known, the boxes alone."""
    boxes = paths.grounding / "boxes.parquet"
    found = []
    for folder, variant in params.grounding.variants.items():
        files = PointingFiles(paths.per_query / folder / "pointing.parquet", boxes)
        gallery = grounding_gallery(files, variant, params.grounding, params.seed, checked)
        found += [gallery] if gallery else []
    if not found:
        unjudged = unjudged_gallery(boxes, params.grounding, params.seed, checked)
        found += [unjudged] if unjudged else []
    return found
