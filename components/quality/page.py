"""The validation page: one self-contained HTML file that says what was checked and what was set aside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from components.quality.expectations import Outcome
from components.quality.verdict import BadRow, Verdict

STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --soft: #5c6470; --line: #d9dde3; --ground: #ffffff;
  --raised: #f5f6f8; --good: #1a6b3c; --bad: #a8201a; --note: #7a5200; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a0a8b3; --line: #363c45;
  --ground: #15181c; --raised: #1e2227; --good: #6fce97; --bad: #ff8a80; --note: #e9b949; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 64rem; background: var(--ground); color:
var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); }
.verdict { border-left: .35rem solid; padding: .6rem 1rem; background: var(--raised); margin: 1rem 0; }
.good { color: var(--good); } .bad { color: var(--bad); } .note { color: var(--note); }
.verdict p, .verdict li { color: var(--ink); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .4rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; } .number { text-align: right; font-variant-numeric: tabular-nums;
} td.said { overflow-wrap: anywhere; min-width: 9rem; } code { font-size: .9em; }
table.small { width: auto; min-width: 22rem; } td.word { white-space: nowrap; }
td.note, td.bad, td.good { white-space: nowrap; } td.word.soft { color: var(--soft); }
details { margin: .8rem 0; } summary { cursor: pointer; }
@media (max-width: 34rem) { table.small { min-width: 0; width: 100%; } th, td { padding-right: .4rem; }
  td.word, th { white-space: normal; } .checks :is(th, td):nth-child(3) { display: none; } }
@media print { details::details-content { content-visibility: visible; height: auto; }
  tr { break-inside: avoid; } }
"""
NOTHING_BAD = "No row may be bad"
SEVERITIES = {
    "warning": "sets rows aside",
    "critical": "stops the pipeline",
    "info": "reported only",
}
NUMBERS = {"Rows", "Failing", "Set aside", "Bad on their own", "Row", "Number"}
WORST_FIRST = ("could not be checked", "fails", "rows set aside", "noted", "holds")
STATES = dict(zip(WORST_FIRST, ("bad", "bad", "bad", "note", "good"), strict=True))


def validation_page(verdict: Verdict, examples: int) -> str:
    """The page of a verdict, the same text for the same verdict; ``examples`` rows are shown per reason."""
    parts = [_headline(verdict), _kinds(verdict)]
    parts += [_facts(title, facts) for title, facts in verdict.facts.items()]
    parts += [_outcomes(kind, verdict.outcomes) for kind in verdict.rows]
    parts.append(_examples(verdict, examples))
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(verdict.title)}: data quality</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _headline(verdict: Verdict) -> str:
    name = escape(verdict.title)
    if verdict.passed:
        held = f"All {len(verdict.outcomes)} checks were carried out."
        aside = sum(len(verdict.bad_rows(kind)) for kind in verdict.rows)
        went = f"{aside:,} rows were set aside, the rest goes on." if aside else "No row was set aside."
        text = f"<p>{held} {went}</p>{_noted(verdict.outcomes)}"
        return f'<h1>{name}: data quality</h1>\n<div class="verdict good"><strong>Passed</strong>{text}</div>'
    reasons = "".join(f"<li>{escape(failure)}</li>" for failure in verdict.failures())
    text = f"<p>Nothing goes on until this is mended:</p><ul>{reasons}</ul>"
    return (
        f'<h1>{name}: data quality</h1>\n<div class="verdict bad"><strong>Did not pass</strong>{text}</div>'
    )


def _noted(outcomes: Iterable[Outcome]) -> str:
    """What is only reported and did not hold, said where nobody can miss it."""
    noted = [outcome for outcome in outcomes if state(outcome) == "noted"]
    lines = "".join(
        f"<li>\u2018{escape(o.check.says)}\u2019 does not hold{escape(_extent(o))}</li>" for o in noted
    )
    return f"<p>Noted, without setting anything aside:</p><ul>{lines}</ul>" if noted else ""


def _extent(outcome: Outcome) -> str:
    """For how many rows a check does not hold; of the whole, what was seen."""
    if outcome.names_rows:
        return f" for {len(outcome.failing):,} of {outcome.rows:,} {outcome.check.kind}"
    return f": {next(iter(outcome.reasons.values()), outcome.observed)}"


def _kinds(verdict: Verdict) -> str:
    lines = [
        _line(
            _cell(kind),
            _number(count),
            _number(len(verdict.bad_rows(kind))),
            _cell(f"{verdict.fraction(kind):.2%}", "number"),
        )
        for kind, count in verdict.rows.items()
    ]
    most = verdict.max_bad_fraction
    limit = f"Of each kind at most {most:.2%} of the rows may be bad on their own" if most else NOTHING_BAD
    note = f'<p class="soft">{limit}; rows set aside only because they belong to a bad row do not count.</p>'
    heads = ("Kind", "Rows", "Set aside", "Bad on their own")
    return f"<h2>Rows</h2>\n{_table(heads, lines, 'small')}{note}"


def _facts(title: str, facts: Mapping[str, int]) -> str:
    lines = [_line(_cell(label), _number(count)) for label, count in facts.items()]
    return f"<h2>{escape(title)}</h2>\n{_table(('What', 'Number'), lines, 'small')}"


def _outcomes(kind: str, outcomes: Iterable[Outcome]) -> str:
    """The checks of a kind, the worst first; what was seen only where anything was."""
    own = sorted(
        (outcome for outcome in outcomes if outcome.check.kind == kind),
        key=lambda outcome: WORST_FIRST.index(state(outcome)),
    )
    seen = [o.error or next(iter(o.reasons.values()), o.observed) for o in own]
    lines = [
        _line(
            _cell(state(outcome), STATES[state(outcome)]),
            _cell(outcome.check.says, "said"),
            _cell(outcome.check.field),
            _cell(SEVERITIES[outcome.check.severity], "word soft"),
            _number(outcome.rows),
            _number(len(outcome.failing)),
            *([_cell(said, "said")] if any(seen) else []),
        )
        for outcome, said in zip(own, seen, strict=True)
    ]
    heads = ["Result", "What must hold", "Field", "If it does not", "Rows", "Failing"]
    heads += ["Seen"] if any(seen) else []
    return f"<h2>Checks of {escape(kind)}</h2>\n{_table(heads, lines, 'checks')}"


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


def _examples(verdict: Verdict, most: int) -> str:
    if not verdict.bad:
        return "<h2>Rows set aside</h2>\n<p>None.</p>"
    parts = ["<h2>Rows set aside</h2>"]
    for kind in verdict.rows:
        for expectation, count in verdict.reasons(kind).items():
            rows = [bad for bad in verdict.bad if (bad.kind, bad.expectation) == (kind, expectation)]
            title = f"{kind}: not \u2018{expectation}\u2019 ({count:,})"
            parts.append(
                f"<details open><summary>{escape(title)}</summary>\n{_bad_rows(rows, most)}</details>"
            )
    return "\n".join(parts)


def _bad_rows(rows: Sequence[BadRow], most: int) -> str:
    lines = [
        _line(
            _cell(" / ".join(filter(None, (bad.query_id, bad.product_id))) or "(none)", "said"),
            _cell("source") if bad.row < 0 else _number(bad.row),
            _cell(bad.field),
            _cell(bad.reason, "said"),
        )
        for bad in rows[:most]
    ]
    more = f'<p class="soft">and {len(rows) - most:,} more in the quarantine</p>' if len(rows) > most else ""
    return _table(("Id", "Row", "Field", "Reason"), lines) + more


def _cell(text: str, style: str = "") -> str:
    return f'<td class="{style}">{escape(text)}</td>' if style else f"<td>{escape(text)}</td>"


def _number(count: int) -> str:
    return _cell(f"{count:,}", "number")


def _line(*cells: str) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _table(heads: Sequence[str], lines: Sequence[str], style: str = "") -> str:
    cells = "".join(
        f'<th class="number">{head}</th>' if head in NUMBERS else f"<th>{head}</th>" for head in heads
    )
    rows = "\n".join(lines)
    return (
        f'<div class="scroll"><table class="{style}"><thead><tr>{cells}</tr></thead><tbody>\n{rows}\n'
        "</tbody></table></div>"
    )
