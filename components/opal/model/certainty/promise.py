"""The point of the risk-coverage curve where a model speaks: a promised rate of wrong values, or completion.

A risk-coverage curve (El-Yaniv and Wiener 2010) says how many of the values above a threshold are wrong. A
threshold picked where the rate just meets a promise breaks it on new data as often as not. So an upper bound
of the rate has to meet it, as in distribution-free risk control (Bates et al. 2021, arXiv 2101.02703;
Angelopoulos et al. 2021, arXiv 2110.01052): the exact binomial bound (Clopper and Pearson 1934), corrected
twice.
Values of one product, and products of one group, are wrong together: the number of values is divided by the
design effect over groups (Kish 1965). And the promise is about the rate that will be *seen* on as much new
data, which varies as much as the one that was measured: the number is halved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from components.stage.params import Params, Share

Floats = npt.NDArray[np.float64]
POINTS = 100  # of a curve, evenly spread over coverage
# of a promise: that the rate on new data is above it; far below the 0.05 that are allowed, for values are
# judged by refined listings, and what these leave out is not judged alike
RISK = 0.01
PRECISE = 1e-7  # of a bound
NOWHERE = 1.1  # a threshold that no probability reaches: everything is left out


class Curve(Params):
    """Rates above each threshold, on the values that the calibration was learned from (held out).

    Thresholds fall. ``wrong`` is the rate of wrong values, ``bound`` what it will stay below with probability
    1 - RISK, ``completion`` the share of the fields of refined listings in whose place something is stated.
    """

    threshold: tuple[Share, ...] = ()
    coverage: tuple[Share, ...] = ()
    wrong: tuple[Share, ...] = ()
    bound: tuple[Share, ...] = ()
    completion: tuple[Share, ...] = ()

    @model_validator(mode="after")
    def _is_one_curve(self) -> Self:
        columns = (self.threshold, self.coverage, self.wrong, self.bound, self.completion)
        if len({len(column) for column in columns}) > 1:
            raise ValueError("the columns of the curve differ in length")
        if any(b > a for a, b in zip(self.threshold, self.threshold[1:], strict=False)):
            raise ValueError("the thresholds of the curve do not fall")
        return self

    def for_precision(self, precision: float) -> float:
        """The lowest threshold that promises at least this share of right values.

        Going down from where the bound is least, it has to meet the promise all the way: a dip of the curve
        below a point that breaks it is chance. ``NOWHERE`` if no point meets it.
        """
        if not self.bound or min(self.bound) > 1 - precision:
            return NOWHERE
        least = int(np.argmin(self.bound))
        worst = np.maximum.accumulate(self.bound[least:])
        return self.threshold[least + int(np.searchsorted(worst, 1 - precision, side="right")) - 1]

    def for_completion(self, completion: float) -> float:
        """The highest threshold that fills this share of fields; zero, for all values, if none does."""
        points = zip(self.threshold, self.completion, strict=True)
        return next((threshold for threshold, filled in points if filled >= completion), 0.0)


class JudgedValues(NamedTuple):
    """Values that can be told right from wrong, with the probability that they are right."""

    chance: Floats
    wrong: npt.NDArray[np.bool_]
    groups: Sequence[str]
    fields: int  # that could have been filled


def risk_curve(judged: JudgedValues) -> Curve:
    """The curve of judged values; without any it is empty, and nothing can be promised."""
    n = len(judged.chance)
    if not n:
        return Curve()
    order = np.argsort(-judged.chance, kind="stable")
    chance, wrong = judged.chance[order], judged.wrong[order].astype(np.float64)
    places: dict[str, int] = {}
    unit = np.array([places.setdefault(judged.groups[i], len(places)) for i in order], np.int64)
    last = np.unique(np.linspace(0, n, min(POINTS, n) + 1).round().astype(np.int64)[1:])
    # Equal probabilities are stated together.
    last = np.unique(np.searchsorted(-chance, -chance[last - 1], side="right"))
    rates, bounds = [], []
    for count in last.tolist():
        errors = wrong[:count].sum()
        effective = count / design_effect(wrong[:count], unit[:count]) / 2
        rates.append(errors / count)
        bounds.append(binomial_bound(errors / count, effective, RISK))
    return Curve(
        threshold=tuple(chance[last - 1].tolist()),
        coverage=tuple((last / n).tolist()),
        wrong=tuple(map(float, rates)),
        bound=tuple(bounds),
        completion=tuple(np.minimum(last / max(judged.fields, 1), 1.0).tolist()),
    )


def design_effect(wrong: Floats, unit: npt.NDArray[np.int64]) -> float:
    """How many times the variance of a rate exceeds that of independent values; at least 1.

    Args:
        wrong: 0 or 1, ``[values]``. unit: the group of each value, as numbers from zero.
    """
    n, rate = len(wrong), float(wrong.mean())
    plain = n * rate * (1 - rate)
    if not plain:
        return 1.0
    residual = np.bincount(unit, weights=wrong - rate)
    groups = len(np.unique(unit))
    clustered = float(np.square(residual).sum()) * groups / max(groups - 1, 1)
    return max(1.0, clustered / plain)


def binomial_bound(rate: float, n: float, risk: float) -> float:
    """Upper bound of a probability of which ``rate`` was seen in ``n`` trials (Clopper and Pearson 1934).

    The probability under which so few or fewer were seen with probability ``risk``. Trials are rounded down
    and events up, so that effective numbers give no smaller bound.
    """
    trials = math.floor(n)
    events = math.ceil(rate * trials - 1e-9)
    if trials < 1 or events >= trials:
        return 1.0
    seen = np.arange(events + 1)
    ways = np.log(np.arange(trials, trials - events, -1)) - np.log(np.arange(1, events + 1))
    ways = np.concatenate([[0.0], np.cumsum(ways)])  # log of (trials choose seen)
    low, high = events / trials, 1.0
    while high - low > PRECISE:
        p = (low + high) / 2
        chance = np.exp(ways + seen * math.log(p) + (trials - seen) * math.log1p(-p)).sum()
        low, high = (p, high) if chance > risk else (low, p)
    return high
