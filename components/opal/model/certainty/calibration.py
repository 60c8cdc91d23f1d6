"""From a model's own confidence to the probability that a value is right.

Platt scaling (Platt 1999): a logistic regression on the log-odds of the confidence. A second witness stands
beside it, where the model has one: what the value heads of its vision tower say of the value that it wrote.
Attributes differ in how far either can be trusted, and most have few values to learn that from. So each
attribute has its own intercept and slopes, and each attribute of a category, each of a product type and each
value an intercept.
A ridge penalty draws them to the fit of all values together (the estimate of a hierarchical logistic
regression, Gelman and Hill 2007, chapter 14). Isotonic regression would ask for hundreds of values for each
attribute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat, NonNegativeFloat

from components.stage.params import Params

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MOST_LOG_ODDS = 8.0  # a confidence beyond 0.9997 says no more than 0.9997
PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0)  # of squared deviations; chosen by held-out likelihood
LOOSE = 1e-3  # of the fit of all values: only so that it exists where all values are right
FOLDS = 5
STEPS = 25  # of Newton's method
TOLERANCE = 1e-6  # of the gain that a step promises


class Value(NamedTuple):
    """A stated value with the model's confidence; ``right`` is None where nothing tells."""

    category: str
    name: str
    value: str
    confidence: float
    group: str
    right: bool | None = None
    product_type: str = ""  # that the answer says; empty: none
    seen: tuple[float, float] = (0.0, 0.0)  # by the value heads: its lead, and its attribute at all
    other: Value | None = None  # what the heads would have said in its place

    @property
    def kinds(self) -> tuple[str, str]:
        """What kind of product it is said of, roughly and closely."""
        return self.category, f"{self.category} / {self.product_type}"


def log_odds(confidence: npt.ArrayLike) -> Floats:
    """log(p / (1 - p)), bounded."""
    least = 1 / (1 + np.exp(MOST_LOG_ODDS))
    p = np.clip(np.asarray(confidence, np.float64), least, 1 - least)
    odds: Floats = np.log(p) - np.log1p(-p)
    return odds


class Calibration(Params):
    """The fit: intercepts and slopes of all values, and each attribute's and value's deviation from them.

    A slope is of the model's own confidence, two ``seen`` ones of what its value heads say.
    """

    intercept: FiniteFloat = 0.0
    slope: FiniteFloat = 1.0
    seen_slope: tuple[FiniteFloat, FiniteFloat] = (0.0, 0.0)
    penalty: NonNegativeFloat = 0.0  # of the deviations
    attributes: Mapping[str, tuple[FiniteFloat, FiniteFloat]] = Field(
        default_factory=dict
    )  # intercept and slope
    seen_slopes: Mapping[str, tuple[FiniteFloat, FiniteFloat]] = Field(default_factory=dict)  # of attributes
    attributes_of: Mapping[str, dict[str, FiniteFloat]] = Field(
        default_factory=dict
    )  # category, and type in it, to attribute to intercept
    values: Mapping[str, dict[str, FiniteFloat]] = Field(
        default_factory=dict
    )  # attribute to value to intercept

    def probability(self, values: Sequence[Value]) -> Floats:
        """Probability that each value is right, ``[values]``."""
        own = np.array(
            [
                (*self.attributes.get(v.name, (0.0, 0.0)), *self.seen_slopes.get(v.name, (0.0, 0.0)))
                for v in values
            ]
        ).reshape(-1, 4)
        slopes = np.array([self.slope, *self.seen_slope]) + own[:, 1:]
        more = [
            sum(self.attributes_of.get(kind, {}).get(v.name, 0.0) for kind in v.kinds)
            + self.values.get(v.name, {}).get(v.value, 0.0)
            for v in values
        ]
        score = self.intercept + own[:, 0] + (slopes * _witnesses(values)).sum(axis=1) + np.array(more)
        chance: Floats = 1 / (1 + np.exp(-score))
        return chance


def _witnesses(values: Sequence[Value]) -> Floats:
    """Log-odds of the model's own confidence, and what its value heads say, ``[values, 3]``."""
    seen = np.array([v.seen for v in values], np.float64).reshape(-1, 2)
    return np.concatenate([log_odds([v.confidence for v in values])[:, None], seen], axis=1)


class _Design(NamedTuple):
    """A sparse design matrix: each value has one entry for each of eleven parameters.

    Args:
        at: columns ``[values, 11]``. entry: what stands there, ``[values, 11]``. right: 0 or 1, ``[values]``.
        names: of the columns, each a kind and a key.
    """

    at: Ints
    entry: Floats
    right: Floats
    names: list[tuple[str, ...]]

    def rows(self, chosen: Ints) -> _Design:
        """The design of some of the values."""
        return _Design(self.at[chosen], self.entry[chosen], self.right[chosen], self.names)

    def score(self, parameters: Floats) -> Floats:
        """The matrix times ``[columns]``: the log-odds of each value."""
        found: Floats = (parameters[self.at] * self.entry).sum(axis=1)
        return found

    def transposed(self, weights: Floats, power: int = 1) -> Floats:
        """The transposed matrix (its entries raised to ``power``) times ``[values]``."""
        terms = self.entry**power * weights[:, None]
        sums = np.bincount(self.at.ravel(), weights=terms.ravel(), minlength=len(self.names))
        return sums.astype(np.float64, copy=False)


def _design(values: Sequence[Value]) -> _Design:
    keys = [
        (
            ("intercept",),
            ("slope",),
            ("lead_slope",),
            ("there_slope",),
            ("attribute", v.name),
            ("attribute_slope", v.name),
            ("attribute_lead_slope", v.name),
            ("attribute_there_slope", v.name),
            *(("attribute_of", kind, v.name) for kind in v.kinds),
            ("value", v.name, v.value),
        )
        for v in values
    ]
    names: dict[tuple[str, ...], int] = {}
    at: Ints = np.array([[names.setdefault(key, len(names)) for key in row] for row in keys], np.int64)
    each = np.concatenate([np.ones((len(values), 1)), _witnesses(values)], axis=1)
    entry = np.concatenate([each, each, np.ones((len(values), 3))], axis=1)
    return _Design(at, entry, np.array([float(bool(v.right)) for v in values]), list(names))


def _fitted(design: _Design, penalty: float, start: Floats) -> Floats:
    """Parameters under which the values are likeliest: Newton's method, each step by conjugate gradients.

    The problem is convex, so nothing hangs on chance. Intercept and slopes of all values are drawn to 0, 1
    and 0, 0, but so loosely that it only matters where all values are right, or all wrong.
    """
    pooled = np.array([len(name) == 1 for name in design.names])
    decay = np.where(pooled, LOOSE, penalty)
    aim = np.array([float(name[0] == "slope") for name in design.names])

    def _loss(parameters: Floats) -> float:
        score = design.score(parameters)
        lost = np.logaddexp(0, score) - design.right * score
        return float(lost.sum() + (decay * np.square(parameters - aim)).sum() / 2)

    found, loss = start, _loss(start)
    for _ in range(STEPS):
        chance = _sigmoid(design.score(found))
        weight = chance * (1 - chance)
        gradient = design.transposed(chance - design.right) + decay * (found - aim)
        step = _solved(design, weight, decay, gradient)
        if float(gradient @ step) < TOLERANCE:
            break
        size = 1.0
        while (after := _loss(found - size * step)) > loss and size > TOLERANCE:
            size /= 2
        found, loss = found - size * step, after
    return found


def _solved(design: _Design, weight: Floats, decay: Floats, gradient: Floats) -> Floats:
    """Newton's step: conjugate gradients on the Hessian, which its diagonal preconditions."""
    diagonal = design.transposed(weight, 2) + decay
    step, residual = np.zeros_like(gradient), gradient.copy()
    direction = residual / diagonal
    size = float(residual @ direction)
    first = size
    for _ in range(len(gradient)):
        if size <= 1e-6 * first or not first:
            break
        curved = design.transposed(weight * design.score(direction)) + decay * direction
        length = size / float(direction @ curved)
        step += length * direction
        residual -= length * curved
        ready = residual / diagonal
        size, before = float(residual @ ready), size
        direction = ready + size / before * direction
    return step


def _sigmoid(score: Floats) -> Floats:
    chance: Floats = 1 / (1 + np.exp(-score))
    return chance


def folds_of(groups: Sequence[str], count: int = FOLDS) -> Ints:
    """The fold of each value; the values of a group share one."""
    places: dict[str, int] = {}
    unit = np.array([places.setdefault(group, len(places)) for group in groups], np.int64)
    order = np.random.default_rng(0).permutation(len(places))
    fold: Ints = order[unit] % count if len(unit) else unit
    return fold


def fit_calibration(values: Sequence[Value]) -> tuple[Calibration, Floats]:
    """The calibration, and the probability of each value by a fit that did not see its group.

    Args:
        values: judged ones; none gives confidences as they are.

    Returns:
        The fit of all values, and ``[values]`` held-out probabilities.
    """
    if not values:
        return Calibration(), np.zeros(0)
    design, fold = _design(values), folds_of([v.group for v in values])
    start = np.array([float(name[0] == "slope") for name in design.names])
    held_out = {penalty: np.zeros(len(values)) for penalty in PENALTIES}
    for f in np.unique(fold):
        inside, outside = np.flatnonzero(fold == f), design.rows(np.flatnonzero(fold != f))
        found = start
        for penalty, chances in held_out.items():
            found = _fitted(outside, penalty, found)
            chances[inside] = _sigmoid(design.rows(inside).score(found))
    losses = {penalty: _log_loss(chances, design.right) for penalty, chances in held_out.items()}
    penalty = min(PENALTIES, key=lambda p: losses[p])
    return _published(_fitted(design, penalty, start), design.names, penalty), held_out[penalty]


def _log_loss(chances: Floats, right: Floats) -> float:
    return float(-np.log(np.where(right > 0, chances, 1 - chances)).mean())


def _published(found: Floats, names: Sequence[tuple[str, ...]], penalty: float) -> Calibration:
    of = dict(zip(names, found.tolist(), strict=True))
    inside: dict[str, dict[str, float]] = {}
    known: dict[str, dict[str, float]] = {}
    for (kind, *key), offset in of.items():
        if kind in ("attribute_of", "value"):
            into = inside if kind == "attribute_of" else known
            into.setdefault(key[0], {})[key[1]] = offset
    stated = [name[1] for name in names if name[0] == "attribute"]
    return Calibration(
        intercept=of[("intercept",)],
        slope=of[("slope",)],
        seen_slope=(of[("lead_slope",)], of[("there_slope",)]),
        penalty=penalty,
        attributes={n: (of["attribute", n], of["attribute_slope", n]) for n in stated},
        seen_slopes={n: (of["attribute_lead_slope", n], of["attribute_there_slope", n]) for n in stated},
        attributes_of=inside,
        values=known,
    )
