"""The headline: each claim with both figures, the tested difference, and what the test says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from components.report.errors import ReportParamsError
from components.report.figures.figures import Figures, PairedTest, paired
from components.report.params import CLAIM_N, Claim, Standing
from components.stage.record import Interval, lower_is_better

NEAR = 0.0005  # closer than this to the best possible value is written as that value
UNDEFINED = Interval(value=float("nan"), n=0)


@dataclass(frozen=True)
class JudgedClaim:
    """One row of the headline table; without a paired test there is no difference and no standing."""

    claim: Claim
    ours: Interval
    baseline: Interval
    test: PairedTest | None  # turned so that its difference is ours − baseline
    standing: Standing | None

    @property
    def relation(self) -> str:
        """The claim's verb in words."""
        return f"is {self.claim.relation.replace('_', ' ')}"

    @property
    def few(self) -> bool:
        """Whether it rests on too few cases to be called more than an indication."""
        return self.test is not None and self.test.n < CLAIM_N


def judged_claims(
    all_figures: Mapping[str, Figures], claims: Iterable[Claim], margin: float
) -> list[JudgedClaim]:
    """Look every claim up in its system's figures.

    Where a metric is not defined for one side, that figure is :data:`UNDEFINED`; the claim has no standing.

    Raises:
        ReportParamsError: a claim names a variant, or a metric of no variant.
    """
    return [_judged(i, all_figures[claim.system], claim, margin) for i, claim in enumerate(claims)]


def _judged(place: int, figures: Figures, claim: Claim, margin: float) -> JudgedClaim:
    cells = []
    for variant in (claim.ours, claim.baseline):
        row = figures.variants.get(variant)
        if row is None or claim.metric not in figures.metrics:
            what = f"variant '{variant}'" if row is None else f"metric '{claim.metric}' of {variant}"
            known = ", ".join(figures.variants if row is None else row)
            raise ReportParamsError(
                f"report.claims.{place}: there is no {what} in {claim.system} (known: {known})."
            )
        cells.append(row.get(claim.metric, UNDEFINED))
    test = paired(figures, claim.metric, claim.ours, claim.baseline)
    return JudgedClaim(claim, cells[0], cells[1], test, _standing(claim, test, cells, margin))


def _standing(
    claim: Claim, test: PairedTest | None, sides: Sequence[Interval], margin: float
) -> Standing | None:
    """What the paired test says of a claim; nothing without one.

    Where neither side can be better, as 1.000 against 1.000, no test can tell them apart: they are level.
    """
    if test is None:
        return None
    found = claim.standing(test.low, test.high, margin)
    best = 0.0 if lower_is_better(claim.metric) else 1.0
    return "level" if found == "open" and all(abs(each.value - best) < NEAR for each in sides) else found
