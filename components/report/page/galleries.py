"""The examples of all pages, with the listings and thumbnails that they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.catalog.format.errors import ImageError
from components.catalog.format.images import decode_image
from components.catalog.format.params import ImageLimits
from components.catalog.format.records import Product, Truth
from components.report.catalogue import CheckedCatalogue, listings, read_truth
from components.report.errors import ReportInputError
from components.report.figures.claims import JudgedClaim
from components.report.figures.gate_plot import GatePlot, gate_plot
from components.report.figures.key_figures import first_baseline
from components.report.galleries.catalogue import shown_products
from components.report.galleries.grounding import GroundingGallery, grounding_gallery, unjudged_gallery
from components.report.galleries.listings import ListingGallery, listing_gallery
from components.report.galleries.retrieval import RetrievalGallery, retrieval_gallery
from components.report.params import ReportParams
from components.stage.files.thumbnails import Thumbnail, thumbnail
from components.stage.paths import Paths

# The gate has already judged the catalogue by the limits of params.yaml; these only stop a swapped file.
LIMITS = ImageLimits(
    max_bytes=2**28, max_pixels=250_000_000, min_side_px=1, max_scans=2**31, max_decoded_bytes=2**62
)


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
    searches = []
    for system in params.retrieval.systems:  # beside what the first claim of each names
        baseline = first_baseline(system, params.systems[system], claims)
        path = paths.per_query / system / f"{system}.parquet"
        searches.append(retrieval_gallery(path, baseline, params, checked))
    groundings = _groundings(paths, params, checked)
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
    size = params.listings.picture_px if params.listings else 0
    small, quality = params.thumbnail_px, params.jpeg_quality
    pictures = {
        each: _picture(each, listing.image, size if each in larger else small, quality)
        for each, listing in listed.items()
    }
    further = {
        each: [_picture(each, data, small, quality) for data in listed[each].more_images]
        for each in in_catalogue
    }
    catalogue = {"shown": shown, "has_truth": bool(true), "truth": true, "further": further}
    return Galleries(searches, groundings, generated, gates, catalogue, listed, pictures)


def _groundings(paths: Paths, params: ReportParams, checked: CheckedCatalogue) -> list[GroundingGallery]:
    """Boxes beside true ones; where no true one is known, the boxes alone."""
    judged = (grounding_gallery(paths, folder, params, checked) for folder in params.grounding.variants)
    found = [gallery for gallery in judged if gallery]
    unjudged = None if found else unjudged_gallery(paths, params, checked)
    return [unjudged] if unjudged else found


def _picture(product_id: str, data: bytes, longest_px: int, quality: int) -> Thumbnail:
    """A product's encoded picture as a small JPEG; the same bytes give the same picture.

    Raises:
        ReportInputError: the bytes are no JPEG, PNG or WebP picture, are cut short, or are too large.
    """
    try:
        image = decode_image(data, LIMITS, target_px=longest_px)
    except ImageError as error:
        raise ReportInputError(
            f"data/checked, product '{product_id}': the image {error}; run the stage catalog_quality again."
        ) from None
    return thumbnail(image, longest_px, quality)
