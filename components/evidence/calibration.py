"""How much each kind of evidence weighs, fitted on sellers' own values of the validation split.

The model is a conditional logit over an attribute's values, seen through sellers who err:

    p(value | evidence) = softmax(evidence @ weights[attribute])
    p(stated | evidence) = (1 - e) p(stated) + e (1 - p(stated)) / (values - 1)

Weights and the rate of wrong values ``e`` are fitted by maximum likelihood of what sellers *stated*; the
truth is never read. Each attribute's weights are held to those of all attributes by a penalty, so that thirty
listings of one attribute are enough. Whether it works is measured without truth as well: values swapped on
purpose should be dropped, stated ones seldom.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from components.evidence.features import FEATURES, PICTURE, AttributeEvidence

Floats = npt.NDArray[np.float64]
LIKELY_WRONG = 0.1  # where the penalty pulls the rate of wrong values: between few and many
STEPS = 80  # of L-BFGS; a convex-like problem of a few hundred numbers needs about 40


@dataclass(frozen=True)
class AttributeWeights:
    """What evidence weighs for one attribute."""

    weights: Floats  # [features], already divided by the features' scales
    wrong: float  # rate of wrong values among stated ones

    def posterior(self, evidence: AttributeEvidence) -> Floats:
        """Probability of each value given all evidence and what the seller states, ``[n, values]``."""
        p = _softmax(evidence.features @ self.weights)
        said = np.flatnonzero(evidence.stated >= 0)  # of the others only evidence speaks
        likelihood = np.ones_like(p)
        likelihood[said] = self.wrong / (len(evidence.values) - 1)
        likelihood[said, evidence.stated[said]] = 1 - self.wrong
        joint = np.maximum(p * likelihood, 1e-300)
        return np.asarray(joint / joint.sum(axis=1, keepdims=True))

    def right(self, evidence: AttributeEvidence) -> Floats:
        """Probability that each value would be right if a seller stated it, ``[n, values]``."""
        p = _softmax(evidence.features @ self.weights)
        stated = (1 - self.wrong) * p
        other = self.wrong * (1 - p) / (len(evidence.values) - 1)
        return np.asarray(stated / np.maximum(stated + other, 1e-300))


def _softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class EvidenceCalibration:
    """Weights per attribute, those of all attributes for the others, and what validation says of each."""

    of: dict[str, AttributeWeights]
    overall: AttributeWeights
    report: dict[str, dict[str, float]] = field(default_factory=dict)  # attribute -> figures

    def weights(self, name: str) -> AttributeWeights:
        """The weights of an attribute."""
        return self.of.get(name, self.overall)

    def visible(self, above: float) -> frozenset[str]:
        """Attributes whose stated value a picture prefers to another one at least so often."""
        return frozenset(n for n, figures in self.report.items() if figures["picture_prefers"] >= above)

    def to_json(self) -> dict[str, Any]:
        """Weights and figures, rounded to what the fit can tell."""
        named = {"all": self.overall, **self.of}
        return {
            name: {
                "weights": dict(zip(FEATURES, (round(float(v), 3) for v in w.weights), strict=True)),
                "wrong": round(w.wrong, 4),
                **{k: round(v, 4) for k, v in self.report.get(name, {}).items()},
            }
            for name, w in sorted(named.items())
        }


class _Problem(NamedTuple):
    """The validation evidence as padded arrays: N stated values with up to K alternatives and F features."""

    x: torch.Tensor  # [N, K, F]
    mask: torch.Tensor  # [N, K], 0 for a value and -inf for padding
    stated: torch.Tensor  # [N]
    attribute: torch.Tensor  # [N]
    alternatives: torch.Tensor  # [N]


def _problem(evidence: Sequence[AttributeEvidence], names: Sequence[str], scales: Floats) -> _Problem:
    """Evidence of several attributes as one padded problem of choice."""
    most, counts = max(len(e.values) for e in evidence), [len(e.rows) for e in evidence]
    padded = [np.pad(e.features / scales, ((0, 0), (0, most - len(e.values)), (0, 0))) for e in evidence]
    attribute = np.repeat([names.index(e.name) for e in evidence], counts)
    alternatives = np.repeat([len(e.values) - 1 for e in evidence], counts)
    mask = np.where(np.arange(most) > alternatives[:, None], -np.inf, 0.0)
    stated = np.concatenate([e.stated for e in evidence])
    parts = np.concatenate(padded), mask, stated, attribute, alternatives.astype(np.float64)
    return _Problem(*map(torch.from_numpy, parts))


def _scales(evidence: Sequence[AttributeEvidence]) -> Floats:
    """Spread of each feature around the mean of its alternatives; 1 where it never varies."""
    centred = [
        (e.features - e.features.mean(axis=1, keepdims=True)).reshape(-1, len(FEATURES)) for e in evidence
    ]
    spread = np.sqrt((np.concatenate(centred) ** 2).mean(axis=0))
    return np.asarray(np.where(spread > 1e-9, spread, 1.0))


def _loss(problem: _Problem, theta: torch.Tensor, delta: torch.Tensor, penalty: float) -> torch.Tensor:
    """Negative log likelihood of the stated values plus the penalty, per stated value.

    The last column of ``theta [F + 1]`` and ``delta [A, F + 1]`` is the logit of the rate of wrong values.
    """
    every = theta + delta[problem.attribute]
    logits = (problem.x * every[:, None, :-1]).sum(dim=-1) + problem.mask
    p = torch.softmax(logits, dim=1).gather(1, problem.stated[:, None])[:, 0]
    wrong = torch.sigmoid(every[:, -1])
    likelihood = (1 - wrong) * p + wrong * (1 - p) / problem.alternatives
    start = torch.logit(torch.tensor(LIKELY_WRONG, dtype=torch.float64))
    held = (delta**2).sum() + (theta[:-1] ** 2).sum() / 10 + (theta[-1] - start) ** 2
    return -likelihood.clamp_min(1e-12).log().mean() + penalty * held / len(p)


def _fit(problem: _Problem, attributes: int, penalty: float) -> tuple[Floats, Floats]:
    """Weights of all attributes ``[F + 1]`` and how each differs ``[A, F + 1]``; no chance is involved."""
    theta = torch.zeros(len(FEATURES) + 1, dtype=torch.float64)
    theta[:-1] = 0.5
    theta[-1] = torch.logit(torch.tensor(LIKELY_WRONG, dtype=torch.float64))
    delta = torch.zeros((attributes, len(FEATURES) + 1), dtype=torch.float64)
    parameters = [theta.requires_grad_(), delta.requires_grad_()]
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=STEPS, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def _closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = _loss(problem, theta, delta, penalty)
        loss.backward()
        return loss

    optimiser.step(_closure)
    return theta.detach().numpy(), delta.detach().numpy()


def _weights(theta: Floats, scales: Floats) -> AttributeWeights:
    return AttributeWeights(theta[:-1] / scales, float(1 / (1 + np.exp(-theta[-1]))))


def calibrate(
    evidence: Iterable[AttributeEvidence], penalty: float, keep_above: float
) -> EvidenceCalibration:
    """Fit weights on stated values of the validation split, and measure them on values swapped on purpose.

    Without any evidence nothing is known, and nothing is dropped.
    """
    parts = [e for e in evidence if len(e.rows)]
    if not parts:
        return EvidenceCalibration({}, AttributeWeights(np.zeros(len(FEATURES)), 0.0))
    names = sorted({e.name for e in parts})
    scales = _scales(parts)
    theta, delta = _fit(_problem(parts, names, scales), len(names), penalty)
    of = {name: _weights(theta + delta[i], scales) for i, name in enumerate(names)}
    by_name: defaultdict[str, list[AttributeEvidence]] = defaultdict(list)
    for e in parts:
        by_name[e.name].append(e)
    report = {name: _figures(by_name[name], of[name], keep_above) for name in names}
    return EvidenceCalibration(of, _weights(theta, scales), report)


def _figures(
    parts: Sequence[AttributeEvidence], weights: AttributeWeights, keep_above: float
) -> dict[str, float]:
    """What validation says of an attribute, without truth.

    ``stated_dropped``: share of the sellers' own values that would go; ``swaps_dropped``: of all their
    alternatives, had the seller stated them; ``picture_prefers``: how often the picture alone scores the
    stated value above another one that the product's type is known to have.
    """
    dropped, swaps, prefers = [], [], []
    for e in parts:
        gone = weights.right(e) < keep_above
        rows = np.arange(len(e.rows))
        own = np.zeros_like(gone)
        own[rows, e.stated] = True
        dropped.append(gone[own])
        swaps.append(gone[~own & ~e.held])
        picture = e.features[:, :, PICTURE] @ weights.weights[PICTURE]
        wins = (picture[rows, e.stated][:, None] - picture) > 0
        prefers.append(wins[e.plausible & ~own])
    pooled = [np.concatenate(x) for x in (dropped, swaps, prefers)]
    return {
        "listings": float(len(pooled[0])),
        "stated_dropped": float(pooled[0].mean()),
        "swaps_dropped": float(pooled[1].mean()),
        "picture_prefers": float(pooled[2].mean()) if len(pooled[2]) else 0.5,
    }
