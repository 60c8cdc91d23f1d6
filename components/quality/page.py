"""The validation page: one self-contained HTML file that says what was checked and what was set aside."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from components.quality.expectations import Outcome
from components.quality.verdict import BadRow, Verdict
from components.stage.files.pages import render_page

TEMPLATE = Path(__file__).with_name("page.jinja")
SEVERITIES = {
    "warning": "sets rows aside",
    "critical": "stops the pipeline",
    "info": "reported only",
}
NUMBERS = {"Rows", "Failing", "Set aside", "Bad on their own", "Row", "Number"}
WORST_FIRST = ("could not be checked", "fails", "rows set aside", "noted", "holds")
STATES = dict(zip(WORST_FIRST, ("bad", "bad", "bad", "note", "good"), strict=True))


class CheckRow(NamedTuple):
    """A check as the page shows it: one of WORST_FIRST, and what was seen if anything was."""

    outcome: Outcome
    state: str
    seen: str


def validation_page(verdict: Verdict, examples: int) -> str:
    """The page of a verdict, the same text for the same verdict; ``examples`` rows are shown per reason."""
    noted = [(o.check.says, _extent(o)) for o in verdict.outcomes if state(o) == "noted"]
    return render_page(
        TEMPLATE,
        verdict=verdict,
        examples=examples,
        aside=sum(len(verdict.bad_rows(kind)) for kind in verdict.rows),
        noted=noted,
        checks={kind: _checks(verdict, kind) for kind in verdict.rows},
        bad=_bad(verdict),
        numbers=NUMBERS,
        severities=SEVERITIES,
        states=STATES,
    )


def _extent(outcome: Outcome) -> str:
    """For how many rows a check does not hold; of the whole, what was seen."""
    if outcome.names_rows:
        return f" for {len(outcome.failing):,} of {outcome.rows:,} {outcome.check.kind}"
    return f": {next(iter(outcome.reasons.values()), outcome.observed)}"


def _checks(verdict: Verdict, kind: str) -> list[CheckRow]:
    """The checks of a kind, the worst first."""
    own = [o for o in verdict.outcomes if o.check.kind == kind]
    rows = [CheckRow(o, state(o), o.error or next(iter(o.reasons.values()), o.observed)) for o in own]
    return sorted(rows, key=lambda row: WORST_FIRST.index(row.state))


def _bad(verdict: Verdict) -> list[tuple[str, list[BadRow]]]:
    """The rows set aside, by kind and reason."""
    return [
        (
            f"{kind}: not \u2018{expectation}\u2019 ({count:,})",
            [bad for bad in verdict.bad if (bad.kind, bad.expectation) == (kind, expectation)],
        )
        for kind in verdict.rows
        for expectation, count in verdict.reasons(kind).items()
    ]


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
