"""Simulated shoppers: how far one goes with a product that a query brought up.

A shopper sees the product, may click, may put it into the cart, may buy. Each step is a logistic choice that
leans on relevance and on what the picture shows at a glance: is the product clear to see, is its colour in
fashion. A listing's text plays no part, so there is something to learn from pictures that text cannot tell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.shop.assortment import COLOURS, PATTERNS
from components.shop.design import Plan, Specification, generator
from components.shop.params import EngagementParams
from components.shop.pictures.scene import camera

STEPS = 4  # seen, click, cart, purchase


def fashion(seed: int) -> dict[str, float]:
    """How much this year's shoppers like each colour and each pattern (mean 0)."""
    rng = generator(seed, "fashion")
    liking = {name: float(value) for name, value in zip(COLOURS, rng.normal(0, 1, len(COLOURS)), strict=True)}
    liking |= {
        name: float(value) for name, value in zip(PATTERNS, rng.normal(0, 0.6, len(PATTERNS)), strict=True)
    }
    return liking


def appeal(shop: Plan, products: list[Specification]) -> NDArray[np.float64]:
    """``[products]``: visible appeal, mean 0 and standard deviation 1 over the given products."""
    liking = fashion(shop.seed)
    clarity = np.array([camera(shop, what.index).clarity for what in products])
    taste = np.array(
        [liking[what.attributes["colour"]] + liking[what.attributes["pattern"]] for what in products]
    )
    raw: NDArray[np.float64] = _standard(clarity) + _standard(taste)
    return _standard(raw)


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    centred: NDArray[np.float64] = values - values.mean()
    return centred / max(float(values.std()), 1e-9)


def desirability(
    relevance: NDArray[np.int64],
    appeals: NDArray[np.float64],
    params: EngagementParams,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """``[products]`` grades 0..4: the steps one shopper goes with each product of a query's answer."""
    count = len(relevance)
    taste = rng.normal(0, 1, count) * params.noise
    logit = (
        params.step_logit + params.relevance_weight * (relevance - 2) + params.appeal_weight * appeals + taste
    )
    harder = params.step_cost * np.arange(STEPS)[:, None]
    goes_on = rng.random((STEPS, count)) < 1 / (1 + np.exp(harder - logit))
    steps: NDArray[np.int64] = np.cumprod(goes_on, axis=0).sum(0)
    return steps
