"""All pages of the report: reads a workspace, draws the samples, and renders self-contained HTML files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from components.report.catalogue import CheckedCatalogue, read_catalogue
from components.report.errors import ReportParamsError
from components.report.figures import figures as fig
from components.report.figures.claims import JudgedClaim, judged_claims
from components.report.figures.curves import doubt_charts
from components.report.figures.key_figures import key_figures
from components.report.figures.quality_summary import read_gate
from components.report.figures.reliability import Reliability, reliability
from components.report.page.galleries import Galleries, read_galleries
from components.report.page.gaps import SMALL, Absent, Gaps, without_gaps
from components.report.page.render import render
from components.report.page.systems import owner, read_curves, system_parts
from components.report.params import ReportParams
from components.report.text.groups import groups_of
from components.report.text.takeaway import WORST_FIRST, counted
from components.stage.files.publish import published, write_text
from components.stage.paths import Paths

NOTHING: Mapping[str, str] = MappingProxyType({})
INDEX, SYSTEMS, CATALOGUE = "index.html", "systems", "catalogue"


@dataclass(frozen=True)
class Report:
    """The pages by their places below the report's folder, the headline numbers, the count of pictures."""

    pages: dict[str, str]
    headline: dict[str, float]
    pictures: int


def build_report(
    paths: Paths, params: ReportParams, partial: Mapping[str, str] = NOTHING, at: Path | None = None
) -> Report:
    """Make the report of the workspace whose files are at ``paths``; nothing is written.

    The same inputs and parameters give the same text: no clock, host, path or order of files enters it.

    Args:
        partial: of a run in which a stage failed: the outputs that it did not make, and why.
        at: where the first page will stand, if not at ``paths.report``; its links start from there.

    Raises:
        ReportInputError: an input is missing, broken, or does not fit the others.
        ReportParamsError: the parameters ask for a figure that does not exist, or for too large a page.
    """
    absent = Absent(partial)
    gaps = without_gaps(paths, params, absent)
    params = gaps.params
    numbers = fig.headline(gaps.figures, params.headline)
    claims = judged_claims(gaps.figures, params.claims, params.claim_margin)
    checked = read_catalogue(paths.catalogue)
    shared = _shop(paths, params, checked) | _claimed(gaps, claims)
    shared |= {"gaps": gaps.notes, "partial": bool(partial), "titled": params.title}
    doubt = doubt_charts(paths.plots, params.curve_points, absent.why)
    parts = system_parts(params, gaps.figures, claims, shared["curves"], doubt)
    shared["reliable"] = _reliable(paths, gaps, absent)
    galleries = read_galleries(paths, params, checked, claims)
    shared |= {"listings": galleries.listings, "pictures": galleries.pictures}
    start = (at or paths.report).parent
    pages = {}
    for place, context in _contexts(params, shared, parts, galleries).items():
        quality = os.path.relpath(paths.quality, (start / place).parent)
        whole = shared | context | {"quality_at": Path(quality).as_posix()}
        pages[place] = _weighed(place, render(params, whole), params)
    return Report(pages, numbers, len(galleries.pictures))


def _reliable(paths: Paths, gaps: Gaps, absent: Absent) -> list[Reliability]:
    """Reliability of each attribute of the main row of listings, where a run has measured it."""
    file = paths.plots / "listing_attributes.csv"
    if "listing" not in gaps.figures or not file.is_file() or absent.why(file):
        return []
    subject = gaps.params.systems["listing"]
    return reliability(file, subject, gaps.figures["listing"].variants.get(subject, {}))


def write_pages(report: Report, index: Path) -> Path:
    """Publish the first page at ``index`` and the others in a folder beside it, which is returned."""
    folder = index.parent / SYSTEMS
    with published(folder) as temporary:
        temporary.mkdir()
        for place, html in report.pages.items():
            if place != INDEX:
                (temporary / Path(place).name).write_text(html, encoding="utf-8")
    write_text(index, report.pages[INDEX])
    return folder


def _weighed(place: str, html: str, params: ReportParams) -> str:
    size = len(html.encode())
    if size > params.max_page_bytes:
        raise ReportParamsError(
            f"The page {place} would have {size:,} bytes, more than report.max_page_bytes "
            f"({params.max_page_bytes:,}): lower report.thumbnail_px, report.jpeg_quality or the "
            "counts of the galleries."
        )
    return html


def _contexts(
    params: ReportParams, shared: dict[str, Any], parts: dict[str, dict[str, Any]], galleries: Galleries
) -> dict[str, dict[str, Any]]:
    """Place of each page -> what it shows beside what all pages know."""
    groups = [entry["group"] for entry in shared["groups"]]
    claimed = {drawn.stage for part in parts.values() for drawn in part["curves"]}
    others = [drawn for drawn in shared["curves"] if drawn.stage not in claimed]
    index = {"content": "index.jinja", "here": "", "root": "", "page": "", "others": others}
    pages: dict[str, dict[str, Any]] = {INDEX: index | {"lead": _lead(params, shared)}}
    for entry in shared["groups"]:
        group = entry["group"]
        found = {
            "searches": [each for each in galleries.searches if each.system in group.systems],
            "groundings": [each for each in galleries.groundings if owner(groups, each.folder) is group],
            "generated": galleries.generated if owner(groups, "listing") is group else None,
            "reliable": shared["reliable"] if "listing" in group.systems else [],
            "gates_plot": galleries.gates
            if galleries.gates and owner(groups, galleries.gates.system) is group
            else None,
        }
        looked = owner(groups, "ground") is group
        head = {"content": "system.jinja", "here": group.key, "root": "../", "page": group.name}
        pages[f"{SYSTEMS}/{group.key}.html"] = head | entry | found | parts[group.key] | {"looked": looked}
    head = {"content": "catalogue.jinja", "here": CATALOGUE, "root": "../", "page": "The catalogue"}
    pages[f"{SYSTEMS}/{CATALOGUE}.html"] = head | galleries.catalogue
    return pages


def _shop(paths: Paths, params: ReportParams, checked: CheckedCatalogue) -> dict[str, Any]:
    """What was run: counts of the checked catalogue, what the gates found, and the training curves."""
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
        "curves": read_curves(paths, params),
    }


def _claimed(gaps: Gaps, claims: list[JudgedClaim]) -> dict[str, Any]:
    """The claims by whether they hold, and the systems of this run with their first figures."""
    groups = []
    for group in groups_of(gaps.params.systems):
        firsts = key_figures(group.figures, gaps.figures, gaps.params.systems, claims)
        groups.append({"group": group, "count": counted(claims, group.systems), "firsts": firsts})
    return {
        "claims": claims,
        "failing": sorted(
            (row for row in claims if row.standing != "shown"),
            key=lambda row: WORST_FIRST.index(row.standing),
        ),
        "holding": [row for row in claims if row.standing == "shown"],
        "groups": groups,
    }


def _lead(params: ReportParams, shared: dict[str, Any]) -> str:
    products, queries = len(shared["checked"].types), len(shared["checked"].queries)
    sentences = [f"Profile {params.profile}: {products:,} products, {queries:,} queries."]
    if shared["partial"]:
        sentences.insert(0, "A partial report: not every stage of the graph has run to its end.")
    if products < SMALL:
        sentences.append(f"Figures of fewer than {SMALL:,} products say little: read them as a rehearsal.")
    standings = [row.standing for row in shared["claims"]]
    if standings:
        said = [(standings.count("opposite"), "contradicted"), (standings.count("open"), "not shown")]
        rest = "".join(f", {count} {word}" for count, word in said if count)
        sentences.append(f"Of {len(standings)} claims {standings.count('shown')} hold{rest}.")
    failed = [gate.gate for gate in shared["gates"] if not gate.passed]
    if failed:
        sentences.append(f"Quality gates that failed: {', '.join(failed)}.")
    elif shared["gates"]:
        sentences.append("Every quality gate passed.")
    return " ".join(sentences)
