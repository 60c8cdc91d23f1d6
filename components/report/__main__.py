"""``python -m components.report build``: the stage that makes the page and the headline numbers.

``python -m components.report tables [FOLDER [METRIC...]]`` prints figures (default: all) as Markdown;
``python -m components.report refresh PAGE...`` does so in pages of docs, between their marks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from components.report.params import ReportParams
from components.stage.frame import run
from components.stage.params import load_params
from components.stage.publish import write_text
from components.stage.record import Record

PAGE = Path("reports/index.html")
HEADLINE = Path("metrics/headline.json")


def build(record: Record) -> None:
    """Read the results of the workspace in the current folder; publish the page and the headline numbers."""
    from components.report.page.page import build_report

    params = load_params("report", ReportParams)
    record.parameters = params.model_dump(mode="json")
    with record.timed("build"):
        report = build_report(Path(), params)
    write_text(PAGE, report.html)
    write_text(HEADLINE, json.dumps(report.headline, indent=1) + "\n")
    record.outputs = [str(PAGE), str(HEADLINE)]
    record.metrics = {"page_bytes": float(len(report.html.encode())), "pictures": float(report.pictures)}
    print(f"{PAGE}: {len(report.html.encode()):,} bytes, {report.pictures} pictures")


if __name__ == "__main__":
    if sys.argv[1:2] == ["tables"]:
        from components.report.text.markdown import tables

        print(tables(Path(sys.argv[2] if len(sys.argv) > 2 else "metrics"), sys.argv[3:]))
        sys.exit()
    if sys.argv[1:2] == ["refresh"]:
        from components.report.text.refresh import refreshed

        for page in map(Path, sys.argv[2:]):
            write_text(page, refreshed(page.read_text(encoding="utf-8"), Path()))
        sys.exit()
    sys.exit(run("report", {"build": build}))
