"""The honest reading: sentences that say what the figures support, made from the figures alone."""

from __future__ import annotations

from collections.abc import Iterable

from components.report.figures.figures import PRETRAINED, Figures, metric_label, verdict
from components.report.text import glossary

FEW = 4  # this many metrics are named, more are counted


def listed(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    items = list(words)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def against(figures: Figures, subject: str, other: str) -> str:
    """One sentence on ``subject`` against ``other`` over every metric that both have."""
    found: dict[str | None, list[str]] = {"better": [], "worse": [], "unclear": [], None: []}
    for metric in figures.variants[subject]:
        if metric in figures.variants[other] and metric != PRETRAINED:
            found[verdict(figures, subject, other, metric)].append(metric_label(metric))
    subject, other = (glossary.label(figures.system, name) for name in (subject, other))
    if not any(found.values()):
        return f"{subject} and {other} have no metric in common."
    than = f"than {other} "
    parts = [f"better {than}on {listed(found['better'])}"] if found["better"] else []
    if found["worse"]:
        parts.append(f"worse {'' if parts else than}on {listed(found['worse'])}")
    if found["unclear"]:
        parts.append(f"not shown to be better or worse {'' if parts else than}on {listed(found['unclear'])}")
    if not parts:
        return f"{subject} and {other} were not compared by a paired test, so their order here shows nothing."
    if found[None]:
        count = len(found[None])
        others = listed(found[None]) if count <= FEW else f"the other {count} metrics"
        parts.append(f"not tested on {others}")
    return f"{subject} is {'; '.join(parts)}."


def _between_others(figures: Figures, subject: str) -> list[str]:
    """What the paired tests that leave ``subject`` aside say, one sentence per pair."""
    pairs = dict.fromkeys((test.a, test.b) for test in figures.tests if subject not in (test.a, test.b))
    lines = []
    for a, b in pairs:
        tested = {test.metric for test in figures.tests if {test.a, test.b} == {a, b}}
        rows = {
            name: {metric: cell for metric, cell in figures.variants[name].items() if metric in tested}
            for name in (a, b)
            if name in figures.variants
        }
        if len(rows) == 2:
            lines.append(against(Figures(figures.system, rows, figures.tests), a, b))
    return lines


def honest_reading(figures: Figures, subject: str) -> list[str]:
    """What the tests say of ``subject`` beside each other row, and of the others among themselves."""
    return [
        *(against(figures, subject, other) for other in figures.variants if other != subject),
        *_between_others(figures, subject),
    ]
