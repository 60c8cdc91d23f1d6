"""What a gate leaves behind: its page and its summary, where the graph or where only people look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

from components.quality.errors import GateError
from components.quality.page import validation_page
from components.quality.verdict import Verdict, write_quarantine
from components.stage.files.publish import published, write_text
from components.stage.record import STATE, Record


def conclude(verdict: Verdict, stem: Path, record: Record, page_examples: int) -> None:
    """End a gate without quarantine: publish ``stem.html`` and ``stem.json``, or refuse.

    Raises:
        GateError: the data did not pass.
    """
    measure(record, verdict)
    if not verdict.passed:
        refuse(verdict, record.stage, page_examples)
    record.outputs = publish_reports(verdict, stem, page_examples)


def measure(record: Record, verdict: Verdict) -> None:
    """Note how many rows of each kind there were and how many were set aside."""
    for kind, rows in verdict.rows.items():
        record.metrics[f"{kind}.rows"] = float(rows)
        record.metrics[f"{kind}.quarantined"] = float(len(verdict.bad_rows(kind)))


def refuse(verdict: Verdict, stage: str, page_examples: int) -> NoReturn:
    """Leave page, summary and quarantine beside the graph, where no later stage can take them for outputs.

    Raises:
        GateError: always; its sentence says what failed and where to read on.
    """
    folder = STATE / "quality" / stage
    write_text(folder / "page.html", validation_page(verdict, page_examples))
    write_text(folder / "summary.json", _json(verdict))
    with published(folder / "quarantine.parquet") as file:
        write_quarantine(file, verdict.bad)
    failures = verdict.failures()
    more = f" (and {len(failures) - 2} more failures)" if len(failures) > 2 else ""
    raise GateError(
        f"{verdict.title} did not pass: {'; '.join(failure.rstrip('.') for failure in failures[:2])}{more}; "
        f"see {folder}/page.html and {folder}/quarantine.parquet."
    )


def publish_reports(verdict: Verdict, stem: Path, page_examples: int) -> list[str]:
    """Write ``stem.html`` and ``stem.json``; returns both names."""
    page, summary = stem.with_suffix(".html"), stem.with_suffix(".json")
    write_text(page, validation_page(verdict, page_examples))
    write_text(summary, _json(verdict))
    return [page.as_posix(), summary.as_posix()]


def _json(verdict: Verdict) -> str:
    return json.dumps(verdict.summary(), indent=1, sort_keys=True) + "\n"
