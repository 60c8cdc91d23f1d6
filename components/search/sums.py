"""The answers that need no network: sums of words, text, picture and type; and a picture, alone or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.query_types import load_types
from components.encoder.model.features.vector_cache import Vectors
from components.encoder.search.search import query_vector
from components.fusion.answer.answer import TYPES, AnswerChoice, check_towers
from components.fusion.answer.composed import composed_scores
from components.fusion.model.baselines import cosine, hybrid_scores, hybrid_sources, weighted_sum, with_types
from components.fusion.model.fuse.item_vectors import QueryInputs
from components.fusion.model.params import FusionParams, SearchParams
from components.fusion.model.sources.bm25 import Scores, words
from components.fusion.model.towers.aligned import load_towers
from components.fusion.model.towers.towers import Flags, Items, Towers
from components.search.kept import product_vectors
from components.search.products import (
    Likeliest,
    Question,
    SearchResult,
    ask_types,
    ranked,
    unknown_words,
    word_index,
)
from components.search.search import nearest
from components.stage.params import load_params
from components.stage.paths import Paths

# Words beside a picture that ask for nothing of their own: "this one, but in navy"
JOINING = frozenset(
    word
    for line in ("a an and but for from in is it like not", "of on one or the this that to with without")
    for word in line.split()
)


Scored = tuple[Scores, Flags, str]  # scores ``[1, N]``, products that have any, by what they were made


def by_sum(
    question: Question, picture: bytes | None, system: str, answer: AnswerChoice | None, paths: Paths
) -> SearchResult:
    """A plain system for words; with a picture, the picture's score is added to the words'.

    Args:
        picture: the question's, encoded. answer: the weights from validation; ``hybrid`` needs none.

    Raises:
        ModelFileError, FusionDataError: the towers are missing, damaged, or not those of ``answer``.
        ImageError: the picture is damaged.
    """
    fusion, params = load_params("fusion", FusionParams), load_params("fusion_search", SearchParams)
    loaded = load_towers(paths.fusion / "align_image")
    check_towers(answer, loaded.model_sha256)
    towers = Towers(loaded, fusion.text, params.encode, paths.cache, params.threads)
    items = product_vectors(towers, paths.catalogue)
    near: float | None = None
    likeliest: Likeliest | None = None
    asked: QueryInputs | None = None
    unknown: dict[str, str] = {}
    if question.text:
        index = word_index(paths.catalogue, fusion.text.fields, fusion.bm25)
        unknown, text = unknown_words(index, question.text), question.text
        if picture is not None:
            text = _known(text, unknown)
            unknown = {word: near for word, near in unknown.items() if word not in JOINING}
        asked = QueryInputs.of(towers.queries([text]), [text], index)
    if picture is not None:
        vector = query_vector(BatchEncoder(loaded.encoder, 1, "fp32"), "", picture)
        scored = _of_picture(vector, asked, items, question, answer)
    else:
        assert asked is not None
        if system == "hybrid_image_type":
            types = load_types(paths.fusion / TYPES)
            said = types.log_probabilities([question.text], towers.features([question.text]))
            asked, likeliest = ask_types(asked, types, said, items, paths.catalogue)
        scored = _of_words(asked, items, None if system == "hybrid" else answer)
        near = nearest(asked.vectors @ items.text.T, items.has_text)
    found = ranked(question, paths.catalogue, *scored)
    return replace(found, near=near, unknown=unknown, likeliest=likeliest)


def _known(text: str, unknown: Mapping[str, str]) -> str:
    """A picture's text without words that no product has ("but"): they would count against the others."""
    return " ".join(word for word in words(text) if word not in unknown) or text


def _of_picture(
    picture: Vectors, asked: QueryInputs | None, items: Items, question: Question, answer: AnswerChoice | None
) -> Scored:
    if asked is None or answer is None:
        return cosine(picture, items.image, items.has_image), items.has_image, "the picture"
    parts = question.parts or answer.parts
    sources = composed_scores(asked, picture, items, answer.hybrid_image)
    scores = weighted_sum(sources, (parts.text, parts.image))
    by = f"text {parts.text:.0%} and picture {parts.image:.0%}"
    return scores, items.has_text | items.has_image, by


def _of_words(asked: QueryInputs, items: Items, answer: AnswerChoice | None) -> Scored:
    if answer is None:
        return hybrid_scores(asked, items), items.has_text, "the ranks of words (BM25) and texts"
    scores = weighted_sum(hybrid_sources(asked, items), answer.hybrid_image)
    typed = ""
    if asked.types is not None:
        scores, typed = with_types(scores, asked.types, answer.type_weight), ", and the type"
    words, text, image = answer.hybrid_image
    by = f"words (BM25) {words:.0%}, text {text:.0%}, picture {image:.0%}{typed}"
    return scores, items.has_text | items.has_image, by
