"""Stage ``report``: the pages, and the headline numbers."""

from __future__ import annotations

import json

from components.report.page.report import build_report, write_pages
from components.report.params import ReportParams
from components.stage.files.publish import write_text
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record


class ReportBlocks(Params):
    """What the stage reads of params.yaml."""

    report: ReportParams


def run(params: ReportBlocks, paths: Paths, record: Record) -> None:
    """Read the results of the workspace; publish the pages and the headline numbers."""
    with record.timed("build"):
        report = build_report(paths, params.report)
    headline = paths.metrics / "headline.json"
    folder = write_pages(report, paths.report)
    write_text(headline, json.dumps(report.headline, indent=1) + "\n")
    record.outputs = [str(paths.report), str(folder), str(headline)]
    size = sum(len(html.encode()) for html in report.pages.values())
    record.metrics = {"page_bytes": float(size), "pictures": float(report.pictures)}
    print(f"{paths.report}: {len(report.pages)} pages, {size:,} bytes, {report.pictures} pictures")
