"""Figures as Markdown, for docs.

``python -m components.report tables [FOLDER [METRIC...]]`` prints them (default: all of ``metrics``);
``python -m components.report refresh PAGE...`` does so in pages of docs, between their marks.
``python -m components.report partial PAGE ABSENT`` builds the page of a run in which a stage failed; ABSENT
is a JSON object: an output that the run did not make, and why.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from components.stage.errors import VitrineError
from components.stage.files.printable import printable
from components.stage.files.publish import write_text
from components.stage.paths import Paths


def main(words: Sequence[str]) -> int:
    """Run ``tables``, ``refresh`` or ``partial``; the exit code."""
    if words[:1] == ["tables"]:
        from components.report.text.markdown import tables

        print(tables(Path(words[1] if len(words) > 1 else "metrics"), list(words[2:])))
    elif words[:1] == ["refresh"]:
        from components.report.text.refresh import refreshed

        for page in map(Path, words[1:]):
            write_text(page, refreshed(page.read_text(encoding="utf-8"), Path()))
    elif words[:1] == ["partial"] and len(words) == 3:
        return _partial(Path(words[1]), json.loads(words[2]))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


def _partial(page: Path, absent: dict[str, str]) -> int:
    from components.report.page.report import build_report, write_pages
    from components.report.params import ReportParams
    from components.stage.params import load_params

    try:
        report = build_report(Paths(), load_params("report", ReportParams), absent, page)
    except VitrineError as error:
        print(f"There is no partial report: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    write_pages(report, page)
    print(f"Partial report, of what this run could make: {page.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
