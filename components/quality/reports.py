"""What a gate leaves behind: its page and its summary, where the graph or where only people look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple, NoReturn

from components.quality.errors import GateError
from components.quality.expectations import Outcome
from components.quality.verdict import BadRow, Verdict, write_quarantine
from components.stage.files.pages import render_page
from components.stage.files.publish import published, write_text
from components.stage.record import STATE, Record

TEMPLATE = Path(__file__).with_name("page.jinja")
WORST_FIRST = ("could not be checked", "fails", "rows set aside", "noted", "holds")


class CheckRow(NamedTuple):
    """A check as the page shows it: one of WORST_FIRST, and what was seen if anything was."""

    outcome: Outcome
    state: str
    seen: str


def validation_page(verdict: Verdict, examples: int) -> str:
    """The page of a verdict, the same text for the same verdict; ``examples`` rows are shown per reason."""
    return render_page(
        TEMPLATE,
        verdict=verdict,
        examples=examples,
        aside=sum(len(verdict.bad_rows(kind)) for kind in verdict.rows),
        noted=[_noted(o) for o in verdict.outcomes if state(o) == "noted"],
        checks={kind: _checks(verdict, kind) for kind in verdict.rows},
        bad=_bad(verdict),
    )


def _noted(outcome: Outcome) -> str:
    """For how many rows a check does not hold, or speaks within its limit; of the whole, what was seen."""
    says, rows = f"\u2018{outcome.check.says}\u2019", f"{len(outcome.failing):,} of {outcome.rows:,}"
    if outcome.names_rows and outcome.success:
        return f"{says} holds: {rows} {outcome.check.kind} against it are within its limit"
    if outcome.names_rows:
        return f"{says} does not hold for {rows} {outcome.check.kind}"
    return f"{says} does not hold: {next(iter(outcome.reasons.values()), outcome.observed)}"


def _checks(verdict: Verdict, kind: str) -> list[CheckRow]:
    own = [o for o in verdict.outcomes if o.check.kind == kind]
    rows = [CheckRow(o, state(o), o.error or next(iter(o.reasons.values()), o.observed)) for o in own]
    return sorted(rows, key=lambda row: WORST_FIRST.index(row.state))


def _bad(verdict: Verdict) -> list[tuple[str, list[BadRow]]]:
    found: list[tuple[str, list[BadRow]]] = []
    for kind in verdict.rows:
        for says, count in verdict.reasons(kind).items():
            rows = [bad for bad in verdict.bad if (bad.kind, bad.expectation) == (kind, says)]
            found.append((f"{kind}: not \u2018{says}\u2019 ({count:,})", rows))
    return found


def state(outcome: Outcome) -> str:
    """What came of a check, one of WORST_FIRST."""
    if outcome.error:
        return "could not be checked"
    if outcome.success and not outcome.failing:
        return "holds"
    if outcome.check.severity == "critical" and not outcome.success:
        return "fails"
    if outcome.success or outcome.check.severity == "info" or not outcome.names_rows:
        return "noted"  # of a warning about the whole there is no row to set aside
    return "rows set aside"


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
