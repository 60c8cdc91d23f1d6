"""The whole page: reads a workspace, draws the samples, and renders one self-contained HTML file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from components.catalog.format.records import Product
from components.report.catalogue import CheckedCatalogue, listings, read_catalogue, read_truth
from components.report.errors import ReportParamsError
from components.report.figures import curves as chart
from components.report.figures import figures as fig
from components.report.figures.claims import JudgedClaim, judged_claims
from components.report.figures.gate_plot import gate_plot
from components.report.figures.paired_tests import TestsTable, paired_table
from components.report.figures.quality_summary import read_gate
from components.report.galleries.catalogue import shown_products
from components.report.galleries.grounding import (
    GroundingGallery,
    PointingFiles,
    grounding_gallery,
    unjudged_gallery,
)
from components.report.galleries.listings import listing_gallery
from components.report.galleries.pictures import Picture, thumbnail
from components.report.galleries.retrieval import (
    RetrievalGallery,
    read_searches,
    retrieval_gallery,
)
from components.report.page.gaps import SMALL, Absent, without_gaps
from components.report.page.render import render
from components.report.params import ReportParams
from components.report.text import glossary
from components.report.text.reading import honest_reading
from components.report.text.takeaway import Takeaway, counted, takeaway
from components.stage.paths import Paths

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Report:
    """The page, the headline numbers, and how many pictures the page holds."""

    html: str
    headline: dict[str, float]
    pictures: int


@dataclass(frozen=True)
class Result:
    """One system's table, tests and reading."""

    figures: fig.Figures
    takeaway: Takeaway
    tests: TestsTable
    reading: list[str]


def build_report(paths: Paths, params: ReportParams, partial: Mapping[str, str] = NOTHING) -> Report:
    """Make the report of the workspace whose files are at ``paths``; nothing is written.

    The same inputs and parameters give the same text: no clock, host, path or order of files enters it.

    Args:
        partial: of a run in which a stage failed: the outputs that it did not make, and why.

    Raises:
        ReportInputError: an input is missing, broken, or does not fit the others.
        ReportParamsError: the parameters ask for a figure that does not exist, or for too large a page.
    """
    gaps = without_gaps(paths, params, Absent(partial))
    params, all_figures = gaps.params, gaps.figures
    numbers = fig.headline(all_figures, params.headline)
    claims = judged_claims(all_figures, params.claims, params.claim_margin)
    context = _shop(paths, params) | _results(paths, params, all_figures, claims)
    context |= _galleries(paths, params, context["checked"])
    context |= {"claims": claims, "groups": _groups(params, claims)}
    context |= {"gaps": gaps.notes, "partial": bool(partial)}
    context["lead"] = _lead(params, context)
    html = render(params, context)
    size = len(html.encode())
    if size > params.max_page_bytes:
        raise ReportParamsError(
            f"The page would have {size:,} bytes, more than report.max_page_bytes "
            f"({params.max_page_bytes:,}): lower report.thumbnail_px, report.jpeg_quality or the "
            "counts of the galleries."
        )
    return Report(html, numbers, len(context["pictures"]))


def _shop(paths: Paths, params: ReportParams) -> dict[str, Any]:
    """What was run: counts of the checked catalogue, and what the gates found."""
    checked = read_catalogue(paths.catalogue)
    queries = Counter((query.kind, query.split) for query in checked.queries.values())
    tiles = [
        ("products", len(checked.types)),
        ("categories", len(checked.categories)),
        ("product types", len(set(checked.types.values()))),
        ("queries", len(checked.queries)),
        ("judgements", checked.reader.qrels_table().num_rows),
    ]
    return {
        "checked": checked,
        "counts": [
            ("Products by category and split", "Category", checked.categories, checked.counts),
            ("Queries by kind and split", "Kind", sorted({kind for kind, _ in queries}), queries),
        ],
        "tiles": tiles,
        "gates": [read_gate(paths.quality, gate) for gate in params.quality],
    }


def _groups(params: ReportParams, claims: list[JudgedClaim]) -> list[dict[str, Any]]:
    """The systems of this run by their usual names, each with the count of its claims."""
    found = []
    for group in glossary.GROUPS:
        systems = [name for name in group.systems if name in params.systems]
        if systems:
            count = counted(claims, systems)
            found.append({"name": group.name, "does": group.does, "systems": systems, "count": count})
    return found


def _results(
    paths: Paths, params: ReportParams, all_figures: dict[str, fig.Figures], claims: list[JudgedClaim]
) -> dict[str, Any]:
    """Tables, tests and readings of the systems, and the training curves."""
    results = []
    for system, subject in params.systems.items():
        figures = all_figures[system]
        if subject not in figures.variants:
            known = ", ".join(figures.variants)
            raise ReportParamsError(
                f"report.systems.{system}: there is no variant '{subject}' (known: {known})."
            )
        figures = fig.with_first(figures, subject)
        figures = fig.reordered(figures, glossary.in_order(figures))
        taken = takeaway(figures, subject, claims, params.pretrained)
        reading = honest_reading(figures, subject, params.pretrained)
        results.append(Result(figures, taken, paired_table(figures), reading))
    drawn = []
    for stage in params.curves:
        curves = chart.read_curves(paths.plots / f"{stage}.csv")
        drawn.append(chart.StageCharts.of(stage, chart.charts(curves, params.curve_points)))
    averaged = max((each.averaged for stage in drawn for each in stage.all), default=1)
    return {"results": results, "curves": drawn, "averaged": averaged}


def _searches(paths: Paths, params: ReportParams, checked: CheckedCatalogue) -> list[RetrievalGallery]:
    """Searches of every system that ranks products."""
    found = []
    for system, success in params.retrieval.systems.items():
        subject = params.systems[system]
        searches = read_searches(paths.per_query / system / f"{system}.parquet", subject, success.metric)
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


def _galleries(paths: Paths, params: ReportParams, checked: CheckedCatalogue) -> dict[str, Any]:
    """The examples shown, with the listings and thumbnails they need."""
    truth = paths.truth / "truth.parquet"
    searches, groundings = _searches(paths, params, checked), _groundings(paths, params, checked)
    generated, gates = None, None
    if params.listings:
        folder = paths.per_query / "listing"
        generated = listing_gallery(folder, params.listings, params.seed, checked)
    if params.gates:
        path = paths.per_query / params.gates.system / "gates.parquet"
        gates = gate_plot(path, params.gates.system, params.gates.variant)
    shown = shown_products(checked, params.catalogue, params.seed)
    in_catalogue = {each for ids in shown.values() for each in ids}
    needed = {p for gallery in searches for p in gallery.products()} | in_catalogue
    needed |= {pointing.product_id for gallery in groundings for pointing in gallery.pointings}
    needed |= {case.product_id for case in generated.cases} if generated else set()
    listed, pictures = _pictured(checked, needed, params)
    return {
        "searches": searches,
        "groundings": groundings,
        "generated": generated,
        "gates_plot": gates,
        "shown": shown,
        "has_truth": truth.is_file(),
        "truth": read_truth(truth, in_catalogue),
        "listings": listed,
        "pictures": pictures,
    }


def _pictured(
    checked: CheckedCatalogue, needed: set[str], params: ReportParams
) -> tuple[dict[str, Product], dict[str, Picture]]:
    """Listings and thumbnails by product id."""
    listed: dict[str, Product] = {}
    pictures: dict[str, Picture] = {}
    for listing in listings(checked.reader, needed):
        listed[listing.product_id] = listing
        pictures[listing.product_id] = thumbnail(
            listing.product_id, listing.image, params.thumbnail_px, params.jpeg_quality
        )
    return listed, pictures


def _lead(params: ReportParams, context: dict[str, Any]) -> str:
    products, queries = len(context["checked"].types), len(context["checked"].queries)
    sentences = [f"Profile {params.profile}: {products:,} products, {queries:,} queries."]
    if context["partial"]:
        sentences.insert(0, "A partial report: a stage of this run failed.")
    if products < SMALL:
        sentences.append(f"Figures of fewer than {SMALL:,} products say little: read them as a rehearsal.")
    standings = [row.standing for row in context["claims"]]
    if standings:
        said = [(standings.count("opposite"), "contradicted"), (standings.count("open"), "not shown")]
        rest = "".join(f", {count} {word}" for count, word in said if count)
        sentences.append(f"Of {len(standings)} claims {standings.count('shown')} are shown{rest}.")
    failed = [gate.gate for gate in context["gates"] if not gate.passed]
    if failed:
        sentences.append(f"Quality gates that failed: {', '.join(failed)}.")
    elif context["gates"]:
        sentences.append("Every quality gate passed.")
    return " ".join(sentences)
