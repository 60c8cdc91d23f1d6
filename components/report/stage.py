"""Stage ``report``: the page, and the headline numbers."""

from __future__ import annotations

import json

from components.report.page.report import build_report
from components.report.params import ReportParams
from components.stage.files.publish import write_text
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record


class ReportBlocks(Params):
    """What the stage reads of params.yaml."""

    report: ReportParams


def run(params: ReportBlocks, paths: Paths, record: Record) -> None:
    """Read the results of the workspace; publish the page and the headline numbers."""
    with record.timed("build"):
        report = build_report(paths, params.report)
    headline, size = paths.metrics / "headline.json", len(report.html.encode())
    write_text(paths.report, report.html)
    write_text(headline, json.dumps(report.headline, indent=1) + "\n")
    record.outputs = [str(paths.report), str(headline)]
    record.metrics = {"page_bytes": float(size), "pictures": float(report.pictures)}
    print(f"{paths.report}: {size:,} bytes, {report.pictures} pictures")
