"""The catalogue's products as an answer needs them: their words, the conditions they fulfil, the hits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.catalog.format.attributes import of_pairs
from components.catalog.format.parquet import row_groups
from components.catalog.format.records import TEXT_COLUMNS
from components.encoder.model.features.pixels import shard_paths
from components.encoder.model.features.query_types import Floats, QueryTypes
from components.encoder.search.conditions import FIELDS, Condition
from components.encoder.search.conditions import fulfilling as products_fulfilling
from components.fusion.answer.answer import Parts
from components.fusion.model.data.product_text import field_text
from components.fusion.model.errors import FusionDataError
from components.fusion.model.fuse.item_vectors import QueryInputs
from components.fusion.model.params import Bm25Params, FieldName, FusionParams
from components.fusion.model.sources.bm25 import Bm25, Scores, words
from components.fusion.model.towers.towers import Items
from components.retrieval.hits import Hit
from components.retrieval.ranking import top_k

SIMILAR = 0.8  # two words: one letter of six is wrong
MOST_TYPOS = 5  # words of a query that a similar one is looked for: each is held against every known word
SURE = 0.5  # a type below it is less likely than that it is another, or none
Row = Mapping[str, Any]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Question:
    """One search.

    Attributes:
        k: how many products. where: what a product must fulfil.
        parts: what text and picture count where both are given; None: as validation has found.
    """

    text: str
    image: Path | None = None
    k: int = 10
    where: tuple[Condition, ...] = ()
    parts: Parts | None = None


class Likeliest(NamedTuple):
    """The likeliest type of a query, and its probability among the catalogue's types."""

    name: str
    probability: float


@dataclass(frozen=True)
class SearchResult:
    """What a search has found.

    Attributes:
        ranked_by: a sentence that says by what. near: cosine of the query and the nearest product text; None
        where nobody has asked the texts. unknown: words of the query that no product's text has, each with
        the most similar that one has, or "". likeliest: type of the query; None where nobody has asked.
    """

    hits: list[Hit]
    ranked_by: str
    near: float | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)
    likeliest: Likeliest | None = None


def catalogue_rows(catalogue: Path) -> Iterator[Row]:
    """The catalogue's products without pictures, in order."""
    for shard in shard_paths(catalogue):
        for table in row_groups(shard, TEXT_COLUMNS):
            yield from table.to_pylist()


def fulfilling(catalogue: Path, where: Sequence[Condition]) -> Flags:
    """bool ``[N]``: products that fulfil every condition.

    Raises:
        FilterError: a condition asks for what no product has.
    """
    columns = [*FIELDS, "attributes"] if where else ["product_id"]
    tables = [table for shard in shard_paths(catalogue) for table in row_groups(shard, columns)]
    return products_fulfilling(pa.concat_tables(tables), where)


class WordIndex(Bm25):
    """The index that BM25 ranks by; it also tells its words."""

    @property
    def words(self) -> list[str]:
        """Every word that some product's text has."""
        return list(self._index.vocab_dict)


def word_index(catalogue: Path, fields: Sequence[FieldName], params: Bm25Params) -> WordIndex:
    """The index of all products' words.

    Raises:
        FusionDataError: there is no product.
    """
    texts = [" ".join(field_text(row, name) for name in fields) for row in catalogue_rows(catalogue)]
    if not texts:
        raise FusionDataError(f"{catalogue} has no product to search.")
    return WordIndex(texts, params)


def hits_of(catalogue: Path, places: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]) -> list[Hit]:
    """The products at ``places``, best first."""
    wanted = set(places.tolist())
    rows = {at: row for at, row in enumerate(catalogue_rows(catalogue)) if at in wanted}
    found = []
    for rank, (at, score) in enumerate(zip(places, scores, strict=True), start=1):
        row = rows[at]
        about = (row["product_id"], row["title"] or "", row["product_type"], of_pairs(row["attributes"]))
        found.append(Hit(rank, float(score), *about))
    return found


def unknown_words(index: WordIndex, text: str) -> dict[str, str]:
    """Words of a text that no product's text has: a typo, or something that the shop does not sell.

    Each with the most similar word that one has, or "" where none is.
    """
    unknown = [word for word in words(text) if not index.known_share([word])[0]]
    known = index.words if unknown else []
    near = ((word, get_close_matches(word, known, n=1, cutoff=SIMILAR)) for word in unknown[:MOST_TYPOS])
    return dict.fromkeys(unknown, "") | {word: found[0] for word, found in near if found}


def ranked(question: Question, catalogue: Path, scores: Scores, seen: Flags, by: str) -> SearchResult:
    """The best products by ``scores [1, N]`` of those that are seen and fulfil every condition."""
    places = np.flatnonzero(fulfilling(catalogue, question.where) & seen)
    if not len(places):
        return SearchResult([], "")
    best = top_k(scores[:, places], question.k)[0]
    return SearchResult(hits_of(catalogue, places[best], scores[0, places[best]]), f"Ranked by {by}.")


def by_words(question: Question, catalogue: Path, fusion: FusionParams) -> SearchResult:
    """BM25: opens no model. A product without a word of the query is no answer."""
    index = word_index(catalogue, fusion.text.fields, fusion.bm25)
    scores = index.scores([question.text])
    found = ranked(question, catalogue, scores, scores[0] > 0, "words (BM25)")
    return replace(found, unknown=unknown_words(index, question.text))


def ask_types(
    asked: QueryInputs, types: QueryTypes, said: Floats, items: Items, catalogue: Path
) -> tuple[QueryInputs, Likeliest]:
    """A query with the log-probability of every product's type, and the likeliest type.

    Args:
        said: the query's log-probabilities of ``types``, ``[1, types]``.
        items: all products of the catalogue, in its order.
    """
    rows = [{"product_type": row["product_type"]} for row in catalogue_rows(catalogue)]
    best = int(said[0].argmax())
    likeliest = Likeliest(types.names[best], float(np.exp(said[0, best])))
    return asked.typed(types, said, replace(items, rows=rows)), likeliest


def no_type(likeliest: Likeliest | None) -> str:
    """A remark where no type of the catalogue clearly fits a query; empty else."""
    if likeliest is None or likeliest.probability >= SURE:
        return ""
    return (
        "No product type clearly fits this query: the likeliest of the catalogue's types, "
        f"{likeliest.name}, has {likeliest.probability:.0%}."
    )
