"""The answers that need no network: sums of words, text, picture and type; and a picture, alone or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.query_types import load_types
from components.encoder.model.features.vector_cache import Vectors
from components.encoder.search.search import query_vector
from components.fusion.answer.answer import TYPES, AnswerChoice, check_towers
from components.fusion.answer.composed import composed_scores
from components.fusion.model.baselines import cosine, hybrid_scores, hybrid_sources, weighted_sum, with_types
from components.fusion.model.fuse.item_vectors import QueryInputs
from components.fusion.model.params import EncodeParams, FusionParams
from components.fusion.model.sources.bm25 import Scores, words
from components.fusion.model.towers.aligned import load_towers
from components.fusion.model.towers.towers import Flags, Items, Towers
from components.search.kept import product_vectors
from components.search.products import (
    Likeliest,
    SearchResult,
    ask_types,
    fits,
    no_type,
    ranked,
    unknown_words,
    word_index,
)
from components.search.question import Question
from components.search.search import nearest

# Words beside a picture that ask for nothing of their own: "this one, but in navy"
JOINING = frozenset(
    word
    for line in ("a an and but for from in is it like not", "of on one or the this that to with without")
    for word in line.split()
)


class AnswerSources(NamedTuple):
    """Where answers come from.

    Attributes:
        models: of fusion. cache: of vectors. fusion: how words and texts are read. encode: how towers encode.
    """

    catalogue: Path
    models: Path
    cache: Path
    fusion: FusionParams
    encode: EncodeParams
    threads: int


class Scored(NamedTuple):
    """Scores ``[1, N]``, the products that have any, and by what they were made."""

    scores: Scores
    seen: Flags
    by: str


def by_sum(question: Question, shop: AnswerSources, answer: AnswerChoice | None, system: str) -> SearchResult:
    """A plain system for words; with a picture, the picture's score is added to the words'.

    Args:
        answer: the weights from validation; ``hybrid`` needs none.

    Raises:
        ModelFileError, FusionDataError: the towers are missing, damaged, or not those of ``answer``.
        ImageError: the picture is damaged.
    """
    loaded = load_towers(shop.models / "align_image")
    check_towers(answer, loaded.model_sha256)
    towers = Towers(loaded, shop.fusion.text, shop.encode, shop.cache, shop.threads)
    items = product_vectors(towers, shop.catalogue)
    near: float | None = None
    likeliest: Likeliest | None = None
    asked: QueryInputs | None = None
    unknown: dict[str, str] = {}
    if question.text:
        index = word_index(shop.catalogue, shop.fusion.text.fields, shop.fusion.bm25)
        unknown, text = unknown_words(index, question.text), question.text
        if question.image is not None:
            text = _known(text, unknown)
            unknown = {word: near for word, near in unknown.items() if word not in JOINING}
        asked = QueryInputs.of(towers.queries([text]), [text], index)
    if question.image is not None:
        picture = query_vector(BatchEncoder(loaded.encoder, 1, "fp32"), "", question.image)
        scored = _of_picture(picture, asked, items, question, answer)
    else:
        assert asked is not None
        if system == "hybrid_image_type":
            types = load_types(shop.models / TYPES)
            said = types.log_probabilities([question.text], towers.features([question.text]))
            asked, likeliest = ask_types(asked, types, said, items, shop.catalogue)
        scored = _of_words(asked, items, None if system == "hybrid" else answer)
        near = nearest(asked.vectors @ items.text.T, items.has_text)
    found = ranked(question, shop.catalogue, *scored)
    return replace(found, near=near, unknown=unknown, remark=no_type(likeliest), fits=fits(likeliest))


def _known(text: str, unknown: Mapping[str, str]) -> str:
    """A picture's text without words that no product has ("but"): they would count against the others."""
    return " ".join(word for word in words(text) if word not in unknown) or text


def _of_picture(
    picture: Vectors, asked: QueryInputs | None, items: Items, question: Question, answer: AnswerChoice | None
) -> Scored:
    if asked is None or answer is None:
        return Scored(cosine(picture, items.image, items.has_image), items.has_image, "the picture")
    parts = question.parts or answer.parts
    sources = composed_scores(asked, picture, items, answer.hybrid_image)
    scores = weighted_sum(sources, (parts.text, parts.image))
    by = f"text {parts.text:.0%} and picture {parts.image:.0%}"
    return Scored(scores, items.has_text | items.has_image, by)


def _of_words(asked: QueryInputs, items: Items, answer: AnswerChoice | None) -> Scored:
    if answer is None:
        return Scored(hybrid_scores(asked, items), items.has_text, "the ranks of words (BM25) and texts")
    scores = weighted_sum(hybrid_sources(asked, items), answer.hybrid_image)
    typed = ""
    if asked.types is not None:
        scores, typed = with_types(scores, asked.types, answer.type_weight), ", and the type"
    words, text, image = answer.hybrid_image
    by = f"words (BM25) {words:.0%}, text {text:.0%}, picture {image:.0%}{typed}"
    return Scored(scores, items.has_text | items.has_image, by)
