"""What to take away from a system's figures: its claims, the worst first, further losses, and caveats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from components.report.figures.claims import JudgedClaim
from components.report.figures.figures import Figures, metric_label, verdict
from components.report.params import CLAIM_N
from components.report.text import glossary
from components.report.text.reading import FEW, listed

WORST_FIRST = ("opposite", "open", None, "level", "shown")


@dataclass(frozen=True)
class Takeaway:
    """What a section says before its table."""

    claims: tuple[JudgedClaim, ...]  # contradicted, not shown, not tested, level, shown
    losses: tuple[str, ...]  # metrics where the main variant is worse than another, which no claim speaks of
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class Count:
    """How many claims of some systems are shown, level, not shown and contradicted."""

    shown: int
    level: int  # neither side can be better
    not_shown: int  # nothing either way, or not tested
    contradicted: int


def takeaway(figures: Figures, subject: str, claims: Iterable[JudgedClaim], pretrained: bool) -> Takeaway:
    """Claims, losses and caveats of one system."""
    own = [row for row in claims if row.claim.system == figures.system]
    ordered = sorted(own, key=lambda row: WORST_FIRST.index(row.standing))
    return Takeaway(
        tuple(ordered), tuple(_losses(figures, subject, own)), tuple(_caveats(figures, subject, pretrained))
    )


def counted(claims: Iterable[JudgedClaim], systems: Iterable[str]) -> Count:
    """The claims of ``systems`` by their standing."""
    wanted = set(systems)
    standings = [row.standing for row in claims if row.claim.system in wanted]
    shown, contradicted = standings.count("shown"), standings.count("opposite")
    level = standings.count("level")
    return Count(shown, level, len(standings) - shown - level - contradicted, contradicted)


def _losses(figures: Figures, subject: str, claims: list[JudgedClaim]) -> list[str]:
    """One sentence per baseline that a paired test puts ahead of ``subject`` where no claim says so."""
    claimed = {(row.claim.metric, frozenset((row.claim.ours, row.claim.baseline))) for row in claims}
    sentences, ours = [], glossary.label(figures.system, subject)
    for other in figures.variants:
        tested = [test.metric for test in figures.tests if {test.a, test.b} == {subject, other}]
        worse = [
            metric_label(metric)
            for metric in tested
            if verdict(figures, subject, other, metric) == "worse"
            and (metric, frozenset((subject, other))) not in claimed
        ]
        if worse:
            sentences.append(
                f"{ours} is worse than {glossary.label(figures.system, other)} on {listed(worse)}."
            )
    return sentences


def _caveats(figures: Figures, subject: str, pretrained: bool) -> list[str]:
    caveats = []
    for other in figures.variants:
        if other != subject and figures.knows_nothing(other, pretrained):
            name = glossary.label(figures.system, other)
            caveats.append(
                f"{name} has learned nothing yet: beating it shows only that training took effect."
            )
    small = [test.n for test in figures.tests if test.n < CLAIM_N]
    if small:
        caveats.append(
            f"{len(small)} of {len(figures.tests)} paired tests rest on fewer than {CLAIM_N:,} cases "
            f"(the smallest on {min(small):,}): read those as an indication."
        )
    if untested := [name for name in figures.variants if not _tested(figures, name)]:
        named = [glossary.label(figures.system, name) for name in untested]
        names = listed(named) if len(untested) <= FEW else f"{len(untested)} rows"
        caveats.append(f"No paired test was made of {names}.")
    return caveats


def _tested(figures: Figures, variant: str) -> bool:
    return not figures.tests or any(variant in (test.a, test.b) for test in figures.tests)
