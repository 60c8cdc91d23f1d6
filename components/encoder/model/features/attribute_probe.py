"""Attribute values from frozen features of pictures: a linear probe.

One multinomial logistic regression for each closed attribute of each category, and of an attribute that may
hold several values one logistic regression for each value. It says what the features hold
about a value, without any text and without a language model, so it is a baseline of everything that names
values. Weight decay and the temperature of a category are chosen on the validation split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from components.catalog.format.attributes import Value, as_value, each
from components.catalog.format.schema import CatalogSchema, Category
from components.encoder.model.towers.heads import LEAST_SPREAD

Ints = npt.NDArray[np.int64]
Take = Callable[[Ints], npt.NDArray[np.float32]]  # rows of the catalogue to their features [n, F]

DECAYS = (3000.0, 1000.0, 300.0, 100.0, 30.0, 10.0)  # on the sum over rows; until validation gets worse
UNCHOSEN = 1000.0  # the decay where no validation row is there to choose
TEMPERATURES = np.geomspace(0.25, 8, 41)
STEPS = 12  # of L-BFGS, from the weights of the next stronger decay
MOST_ROWS = 20_000  # of a category that are learned from: more move a linear model little, and fill memory
ABSENT = ""  # the class of an attribute that a listing does not state
IGNORED = -1  # a label that teaches nothing


class StatedProducts(NamedTuple):
    """Products with what is stated of them; ``positions`` are rows of the catalogue."""

    positions: Ints
    categories: Sequence[str]
    attributes: Sequence[Mapping[str, Value]]

    def inside(self, category: str) -> StatedProducts:
        """The products of one category."""
        at = [i for i, name in enumerate(self.categories) if name == category]
        return StatedProducts(self.positions[at], [category] * len(at), [self.attributes[i] for i in at])


class ValuePrediction(NamedTuple):
    """The likeliest value of an attribute, and its calibrated probability.

    Where an attribute may hold several values, and may also be left out: all that are likelier than not, and
    the least of their probabilities.
    """

    value: Value
    probability: float


class _Asked(NamedTuple):
    """What a head is asked: the value of an attribute, or whether ``value`` is one of its values."""

    name: str
    value: str = ""

    def label(self, stated: Mapping[str, Value], absent: bool) -> str | None:
        """The class that a listing teaches; None where it teaches none."""
        held = stated.get(self.name, ABSENT)
        if self.value and (held or absent):
            return self.value if self.value in each(held) else ABSENT
        return held if isinstance(held, str) and not self.value else None


@dataclass(frozen=True)
class _Heads:
    """The heads of one category: linear maps of standardised features, side by side."""

    classes: dict[_Asked, list[str]]  # what is asked to its answers, in the columns' order
    absent: bool  # whether an attribute may be left out
    mean: Tensor  # [F]
    scale: Tensor  # [F]
    weight: Tensor  # [F, columns]
    bias: Tensor  # [columns]
    temperature: float

    def answers(self, features: Tensor) -> list[dict[str, ValuePrediction]]:
        """Per row ``[n, F]``, attribute to answer."""
        logits = ((features - self.mean) * self.scale) @ self.weight + self.bias
        out: list[dict[str, ValuePrediction]] = [{} for _ in range(len(features))]
        parts = (logits / self.temperature).split([len(c) for c in self.classes.values()], dim=1)
        sets: list[dict[str, dict[str, float]]] = [{} for _ in out]
        for (asked, values), part in zip(self.classes.items(), parts, strict=True):
            chances = part.softmax(dim=1)
            best, at = chances.max(dim=1)
            if asked.value:
                for held, p in zip(sets, chances[:, 0].tolist(), strict=True):
                    held.setdefault(asked.name, {})[asked.value] = p
                continue
            for row, p, i in zip(out, best.tolist(), at.tolist(), strict=True):
                row[asked.name] = ValuePrediction(values[i], p)
        for row, held in zip(out, sets, strict=True):
            row |= {name: _of_several(chances, self.absent) for name, chances in held.items()}
        return out


def _of_several(chances: Mapping[str, float], absent: bool) -> ValuePrediction:
    """The answer from the chance of each value by itself."""
    likely = {value: p for value, p in chances.items() if p > 0.5}
    if not absent:
        best = max(chances, key=lambda value: chances[value])
        return ValuePrediction(best, chances[best])
    if not likely:
        return ValuePrediction(ABSENT, 1 - max(chances.values()))
    return ValuePrediction(as_value(likely), min(likely.values()))


class AttributeProbe:
    """Reads the values of closed attributes off frozen features.

    Args:
        schema: of the catalogue. take: gives the features of catalogue rows.
        train: what the heads learn. validation: what decay and temperature are chosen on; may be empty.
        absent: learn as a class of its own that an attribute is not stated; else such a row is left out.
    """

    def __init__(
        self,
        schema: CatalogSchema,
        take: Take,
        train: StatedProducts,
        validation: StatedProducts,
        absent: bool,
    ) -> None:
        self._take = take
        self._heads: dict[str, _Heads] = {}
        for name, category in schema.categories.items():
            heads = _fitted(category, take, train.inside(name), validation.inside(name), absent)
            if heads is not None:
                self._heads[name] = heads

    def answers(self, positions: Ints, categories: Sequence[str]) -> list[dict[str, ValuePrediction]]:
        """Attribute to answer for each product; without an entry where nothing was learned."""
        out: list[dict[str, ValuePrediction]] = [{} for _ in categories]
        for category, heads in self._heads.items():
            at = [i for i, name in enumerate(categories) if name == category]
            if at:
                found = heads.answers(torch.from_numpy(self._take(positions[at])))
                for i, row in zip(at, found, strict=True):
                    out[i] = row
        return out


def _classes(category: Category, stated: StatedProducts, absent: bool) -> dict[_Asked, list[str]]:
    """The values of each closed attribute that some listing states, in the schema's order."""
    found: dict[_Asked, list[str]] = {}
    for name, attribute in category.attributes.items():
        said = {text for row in stated.attributes for text in each(row.get(name, ABSENT))}
        values = [value for value in attribute.values if value in said]
        if attribute.multiple:
            found |= {_Asked(name, value): [value, ABSENT] for value in values}
        elif values:
            found[_Asked(name)] = [*values, ABSENT] if absent and ABSENT in said else values
    return found


def _labels(classes: Mapping[_Asked, Sequence[str]], stated: StatedProducts, absent: bool) -> Tensor:
    """Class indices ``[heads, n]``; what is no class of a head is ignored."""
    at: list[dict[str | None, int]] = [{v: i for i, v in enumerate(values)} for values in classes.values()]
    rows = [
        [places.get(asked.label(row, absent), IGNORED) for row in stated.attributes]
        for asked, places in zip(classes, at, strict=True)
    ]
    return torch.tensor(rows, dtype=torch.int64).view(len(classes), len(stated.attributes))


def _loss(logits: Tensor, labels: Tensor, sizes: Sequence[int]) -> Tensor:
    """Negative log-likelihood of the labels, summed over rows and heads."""
    parts = zip(logits.split(list(sizes), dim=1), labels, strict=True)
    losses = [F.cross_entropy(part, y, ignore_index=IGNORED, reduction="sum") for part, y in parts]
    return torch.stack(losses).sum()


def _minimised(
    x: Tensor, labels: Tensor, sizes: Sequence[int], parameters: list[Tensor], decay: float
) -> None:
    """Fit ``weight`` and ``bias`` in place; the problem is convex, so nothing hangs on chance."""
    weight, bias = (p.requires_grad_() for p in parameters)
    optimiser = torch.optim.LBFGS(parameters, max_iter=STEPS, line_search_fn="strong_wolfe")

    def _closure() -> Tensor:
        optimiser.zero_grad()
        loss = _loss(x @ weight + bias, labels, sizes) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(_closure)


def _fitted(
    category: Category, take: Take, train: StatedProducts, validation: StatedProducts, absent: bool
) -> _Heads | None:
    """The heads of one category with the decay and the temperature under which validation is likeliest."""
    if len(train.positions) > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(0).permutation(len(train.positions))[:MOST_ROWS])
        train = StatedProducts(train.positions[chosen], [], [train.attributes[i] for i in chosen])
    classes = _classes(category, train, absent)
    if not classes:
        return None
    features = torch.from_numpy(take(train.positions))
    mean = features.mean(dim=0)
    scale = 1 / features.std(dim=0, correction=0).clamp_min(LEAST_SPREAD)
    # The weights lie in the span of the rows. In its basis the problem is the same, and smaller.
    basis, rotated = torch.linalg.qr(((features - mean) * scale).T)
    x, labels = rotated.T.contiguous(), _labels(classes, train, absent)
    sizes = [len(values) for values in classes.values()]
    unseen = ((torch.from_numpy(take(validation.positions)) - mean) * scale) @ basis
    judged = _labels(classes, validation, absent)
    known = bool((judged != IGNORED).any())
    parameters = [torch.zeros(x.shape[1], sum(sizes)), torch.zeros(sum(sizes))]
    best, least = (parameters[0], parameters[1], 1.0), np.inf
    for decay in DECAYS if known else (UNCHOSEN,):
        _minimised(x, labels, sizes, parameters, decay)
        weight, bias = (p.detach().clone() for p in parameters)
        temperature, loss = _calibrated(unseen @ weight + bias, judged, sizes) if known else (1.0, 0.0)
        if loss >= least:
            break
        best, least = (weight, bias, temperature), loss
    weight, bias, temperature = best
    return _Heads(classes, absent, mean, scale, basis @ weight, bias, temperature)


def _calibrated(logits: Tensor, labels: Tensor, sizes: Sequence[int]) -> tuple[float, float]:
    """The temperature that makes the labels likeliest (Guo et al. 2017, arXiv 1706.04599), and their loss."""
    losses = [float(_loss(logits / t, labels, sizes)) for t in TEMPERATURES]
    at = int(np.argmin(losses))
    return float(TEMPERATURES[at]), losses[at]
