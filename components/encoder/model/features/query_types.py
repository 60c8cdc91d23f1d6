"""Which product type a query asks for: a posterior over the catalogue's types, inferred from its text alone.

Product types are columns of the catalogue, so every product's is known; a query's is not. A multinomial
logistic regression on the frozen text features says it (query category classification), with one more number
for the types that the words of the query name. It learns from train queries and the types of their judged
products, from titles, and from the types' own names; so a catalogue without queries has one, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from components.encoder.model.errors import ModelFileError

Floats = npt.NDArray[np.float32]
TextFeatures = Callable[[Sequence[str]], npt.NDArray[Any]]  # texts to frozen features [N, F]
WORD = re.compile(r"[^\W\d_]+")
QUERY, NAME, TITLE = 1.0, 1.0, 0.1  # what an example counts; titles are many, and no queries
MOST = 10_000  # queries, and titles, that are learned from: bounds time and memory
GAIN = 8.0  # of unit features: the scale that the decay is meant for
DECAY = 0.1  # on half the sum of squared weights, beside the sum over examples
STEPS = 60  # of L-BFGS
LEAST = -10.0  # a log-probability counts no less: whatever is this unlikely is unlikely alike


def words(text: str) -> set[str]:
    """Lower-cased words of a text, a plural ``s`` removed."""
    found = (w.lower() for w in WORD.findall(text))
    return {w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in found}


class Examples(NamedTuple):
    """Texts with the place of a type in ``names`` and what each counts."""

    names: tuple[str, ...]
    texts: list[str]
    types: npt.NDArray[np.int64]
    weights: Floats


@dataclass(frozen=True)
class QueryTypes:
    """p(type | text) = softmax(W (f - m) + b + a [the text names the type]).

    Attributes:
        names: of ``T`` types. mean: m ``[F]``. weight: W ``[F, T]``. bias: b ``[T]``. naming: a.
    """

    names: tuple[str, ...]
    mean: Floats
    weight: Floats
    bias: Floats
    naming: float

    def log_probabilities(self, texts: Sequence[str], features: npt.NDArray[Any]) -> Floats:
        """``[Q, T]``, none below ``LEAST``.

        Args:
            features: ``[Q, F]`` frozen text features of the same texts.
        """
        logits = (_unit(features) - self.mean) @ self.weight + self.bias
        logits += np.float32(self.naming) * named(texts, self.names)
        found: Floats = F.log_softmax(torch.from_numpy(logits), dim=1).numpy()
        return found.clip(LEAST)

    def of_types(self, log_probabilities: Floats, types: Sequence[str | None]) -> Floats:
        """``[Q, N]``: log p(type of the product | query) of products of ``types``.

        One whose type is None, or new, gets the probability of a guess: no evidence either way.
        """
        place = {name: i for i, name in enumerate(self.names)}
        guess = np.full((len(log_probabilities), 1), -np.log(len(self.names)), dtype=np.float32)
        at = np.array([place.get(kind or "", len(self.names)) for kind in types], dtype=np.int64)
        return np.concatenate([log_probabilities, guess], axis=1)[:, at]


def named(texts: Sequence[str], names: Sequence[str]) -> Floats:
    """``[texts, names]``: 1 where a text has all words of a name, and of no longer name."""
    own = [words(name) for name in names]
    out = np.zeros((len(texts), len(names)), dtype=np.float32)
    for row, text in zip(out, texts, strict=True):
        asked = words(text)
        length = np.array([len(o) if o and o <= asked else 0 for o in own])
        row[(length > 0) & (length == length.max(initial=0))] = 1
    return out


def type_examples(catalogue: Path, rows: Sequence[Mapping[str, Any]]) -> Examples:
    """Train queries, titles of train products, and the names of all types.

    Args:
        rows: of the whole catalogue.
    """
    names = tuple(sorted({row["product_type"] for row in rows}))
    place = {name: i for i, name in enumerate(names)}
    types = np.array([place[row["product_type"]] for row in rows], dtype=np.int64)
    asked, asked_types, asked_weights = _queries(catalogue, [row["product_id"] for row in rows], types)
    titled = [i for i, row in enumerate(rows) if row["split"] == "train" and (row["title"] or "").strip()]
    titled = [titled[i] for i in _some(len(titled))]
    return Examples(
        names,
        [*asked, *(rows[i]["title"] for i in titled), *names],
        np.concatenate([asked_types, types[titled], np.arange(len(names))]).astype(np.int64),
        np.concatenate(
            [QUERY * asked_weights, np.full(len(titled), TITLE), np.full(len(names), NAME)]
        ).astype(np.float32),
    )


def _some(count: int) -> npt.NDArray[np.int64]:
    """All places, or ``MOST`` of them at random, in order."""
    return np.sort(np.random.default_rng(0).permutation(count)[:MOST])


def _queries(
    catalogue: Path, product_ids: Sequence[str], types: npt.NDArray[np.int64]
) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Texts of train queries, once for each type of their judged products, and its share of the gains."""
    queries = pq.read_table(catalogue / "queries.parquet", columns=["query_id", "text", "split"])
    queries = queries.filter(pc.equal(queries["split"], "train"))
    queries = queries.take(pa.array(_some(queries.num_rows), pa.int64()))
    qrels = pq.read_table(catalogue / "qrels.parquet", columns=["query_id", "product_id", "relevance"])
    query = pc.fill_null(pc.index_in(qrels["query_id"], queries["query_id"].combine_chunks()), -1).to_numpy()
    product = pc.fill_null(pc.index_in(qrels["product_id"], pa.array(product_ids, pa.string())), -1)
    inside = (query >= 0) & (product.to_numpy() >= 0)
    gain = 2.0 ** qrels["relevance"].to_numpy()[inside] - 1
    kinds = int(types.max(initial=0)) + 1
    key = query[inside].astype(np.int64) * kinds + types[product.to_numpy()[inside]]
    pairs, which = np.unique(key, return_inverse=True)
    gains = np.bincount(which, gain, len(pairs))
    whole = np.bincount(pairs // kinds, gains, queries.num_rows)[pairs // kinds]
    share, kept = gains / whole.clip(1e-9), gains > 0
    texts = queries["text"].to_pylist()
    return [texts[q] for q in (pairs // kinds)[kept]], (pairs % kinds)[kept], share[kept]


def _unit(features: npt.NDArray[Any]) -> Floats:
    found = features.astype(np.float32)
    unit: Floats = found / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-9) * np.float32(GAIN)
    return unit


def learn_types(examples: Examples, features: TextFeatures) -> QueryTypes:
    """The posterior that makes the examples likeliest, weights held small; the problem is convex."""
    names = examples.names
    unit = _unit(features(examples.texts))
    mean = np.average(unit, axis=0, weights=examples.weights).astype(np.float32)
    x, y, each = (torch.from_numpy(a) for a in (unit - mean, examples.types, examples.weights))
    naming = torch.from_numpy(named(examples.texts, names))
    weight, bias, a = (torch.zeros(s, requires_grad=True) for s in ((x.shape[1], len(names)), len(names), ()))
    optimiser = torch.optim.LBFGS([weight, bias, a], max_iter=STEPS, line_search_fn="strong_wolfe")

    def _closure() -> torch.Tensor:
        optimiser.zero_grad()
        losses = F.cross_entropy(x @ weight + bias + a * naming, y, reduction="none")
        loss = (each * losses).sum() + DECAY / 2 * (weight.square().sum() + bias.square().sum())
        loss.backward()
        return loss

    optimiser.step(_closure)
    return QueryTypes(names, mean, weight.detach().numpy(), bias.detach().numpy(), float(a.detach()))


def save_types(types: QueryTypes, file: Path) -> None:
    """Write one safetensors file; the names stand in its header."""
    arrays = {"mean": types.mean, "weight": types.weight, "bias": types.bias}
    arrays["naming"] = np.array([types.naming], dtype=np.float32)
    header = {"names": json.dumps(types.names)}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, file, header)


def load_types(file: Path) -> QueryTypes:
    """Read what ``save_types`` wrote.

    Raises:
        ModelFileError: the file is missing or damaged.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            names = tuple(map(str, json.loads(opened.metadata()["names"])))
            mean, weight, bias, naming = (
                opened.get_tensor(name) for name in ("mean", "weight", "bias", "naming")
            )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelFileError(f"{file} cannot be loaded ({error}); run its stage again.") from None
    if weight.shape != (len(mean), len(names)) or bias.shape != (len(names),):
        raise ModelFileError(f"{file} holds arrays that do not fit each other; run its stage again.")
    return QueryTypes(names, mean, weight, bias, float(naming[0]))
