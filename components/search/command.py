"""``search`` on the command line: a table for people, JSON for programs."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from components.catalog.format.errors import ImageError
from components.catalog.format.images import decode_image
from components.encoder.model.features.pixels import LIMITS
from components.encoder.search.conditions import conditions
from components.fusion.answer.answer import PLAIN, AnswerChoice, Parts, check_towers, read_answer
from components.fusion.model.data.product_text import plain
from components.fusion.model.errors import FusionConfigurationError, FusionDataError
from components.fusion.model.params import FusionParams, SearchParams
from components.retrieval.hits import print_hits
from components.search.products import Question, SearchResult, by_words, fulfilling, no_type
from components.stage.arguments import Parser, composed
from components.stage.files.printable import printable
from components.stage.frame import explain
from components.stage.params import load_params
from components.stage.paths import Paths

SEES = ("encoder", "hybrid_image")  # systems that a picture can be asked of


def _parser() -> Parser:
    parser = Parser(prog="vitrine search")
    parser.add_argument("text", nargs="?", default="", type=composed)
    parser.add_argument("--like", metavar="PRODUCT_ID", type=composed)  # vitrine similar
    parser.add_argument("--image", type=Path)
    parser.add_argument("--weights", metavar="text=0.6,image=0.4")
    parser.add_argument("--system")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--where", action="append", default=[], metavar="NAME=VALUE or NAME<NUMBER")
    parser.add_argument("--json", action="store_true")
    return parser


def _question(arguments: argparse.Namespace) -> Question:
    where = conditions(arguments.where)
    text, image = plain(arguments.text), arguments.image
    if arguments.k < 1:
        raise FusionConfigurationError("--k must be at least 1.")
    if arguments.like is not None:
        return Question("", None, arguments.k, where)
    if not text and image is None:
        raise FusionDataError("Say what to search for: a text that is not empty, --image, or both.")
    parts = read_parts(arguments.weights) if arguments.weights is not None else None
    if parts and (not text or image is None):
        raise FusionConfigurationError("--weights needs both: a text and --image.")
    return Question(text, image, arguments.k, where, parts)


def read_parts(text: str) -> Parts:
    """``text=0.6,image=0.4``, made to sum to 1; a part that is not named counts nothing.

    Raises:
        FusionConfigurationError: another name or one twice, no number from 0 on, or nothing that counts.
    """
    found: dict[str, float] = {}
    for word in text.split(","):
        name, _, value = (part.strip() for part in word.partition("="))
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if name not in ("text", "image") or not 0 <= number < float("inf"):
            raise FusionConfigurationError(
                f"--weights takes text=0.6,image=0.4 with numbers from 0 on, not '{word}'."
            )
        if name in found:
            raise FusionConfigurationError(f"--weights names {name} twice.")
        found[name] = number
    total = sum(found.values())
    if total == float("inf"):
        raise FusionConfigurationError("--weights are too great to be compared; take text=0.6,image=0.4.")
    if not total:
        raise FusionConfigurationError("--weights must let text or image count: text=0.6,image=0.4.")
    return Parts(text=found.get("text", 0) / total, image=found.get("image", 0) / total)


def _picture(file: Path) -> bytes:
    """Read and look at a picture before any model is opened for it.

    Raises:
        FusionDataError: it cannot be read, or decoded within the limits; names the file.
    """
    try:
        too_large = file.stat().st_size > LIMITS.max_bytes
        data = b"" if too_large else file.read_bytes()
        decode_image(data, LIMITS, target_px=1)
    except OSError as error:
        raise FusionDataError(f"{file} cannot be read: {error.strerror}.") from None
    except ImageError as error:
        why = f"has over {LIMITS.max_bytes:,} bytes; give a smaller one" if too_large else error
        raise FusionDataError(f"The picture {file} {why}.") from None
    return data


def chosen_system(asked_for: str | None, question: Question, answer: AnswerChoice | None) -> str:
    """Which system answers.

    Args:
        asked_for: by ``--system``; ``fusion`` is the network of the parameters.

    Raises:
        FusionConfigurationError: there is no such system, or it cannot answer this question.
    """
    known = ("encoder", "fusion", *PLAIN, *(answer.ndcg_at_10 if answer else ()))
    if asked_for is not None and asked_for not in known:
        names = ", ".join(dict.fromkeys(known))
        raise FusionConfigurationError(f"'{asked_for}' does not search; --system takes {names}.")
    preferred = "encoder" if answer is None else answer.system if question.image is None else "hybrid_image"
    system = asked_for or preferred
    if system == "fusion":
        system = load_params("fusion_search", SearchParams).network
    if question.image is not None and system not in SEES:
        raise FusionConfigurationError(f"'{system}' is asked by a text alone; leave --system out.")
    if question.parts and system == "encoder":
        raise FusionConfigurationError("--weights are for fusion's answers; start with: vitrine run fusion")
    if system in ("hybrid_image", "hybrid_image_type") and answer is None:
        raise FusionConfigurationError(f"{system} has no weights yet; start with: vitrine run fusion")
    return system


def why(asked_for: str | None, system: str, question: Question, answer: AnswerChoice | None) -> str:
    """Who answers, and why, in one line."""
    if asked_for is not None:
        return f"{system} answers, as asked."
    if answer is None:
        return "encoder answers: fusion has not been evaluated here (vitrine run fusion)."
    if question.image is not None:
        return "hybrid_image answers: it can be asked with a picture."
    if not answer.chosen:
        return f"{system} answers by default: {answer.queries:,} validation queries are too few to choose."
    figures = {name: f"{answer.ndcg_at_10[name]:.3f}" for name in answer.best()}
    if fewer := answer.text_missing_ndcg_at_10:
        figures = {name: f"{figure} and {fewer[name]:.3f}" for name, figure in figures.items()}
    near = next((name for name in figures if name != system), None)
    then = f" (then {near}, {figures[near]})" if near else ""
    then = f", as {near}" if near and figures[near] == figures[system] else then
    how = ", as products are and with texts missing: " if fewer else ", "
    best = f"{system} answers: best on {answer.queries:,} validation queries"
    return f"{best}{how}nDCG@10 {figures[system]}{then}."


def _not_known(words: Mapping[str, str]) -> str:
    told = [f"{word} (did you mean {near}?)" if near else word for word, near in words.items()]
    return f"No product's text has: {printable(', '.join(told))}." if told else ""


def no_match(near: float | None, answer: AnswerChoice | None) -> str:
    """A warning where the best is worse than what queries with an answer get; empty else."""
    floor = answer.floor if answer else None
    if floor is None or near is None or near >= floor.score:
        return ""
    # as many decimals as tell the two apart: 0.82 beside 0.82 would explain nothing
    digits = next((n for n in range(2, 9) if f"{near:.{n}f}" != f"{floor.score:.{n}f}"), 9)
    return (
        f"No good match: the text of the nearest product has a similarity of {near:.{digits}f} with the "
        f"query. Below {floor.score:.{digits}f} are {floor.warned:.0%} of the validation queries that have "
        f"an answer, and {floor.caught:.0%} of those that have none."
    )


def warnings(found: SearchResult, answer: AnswerChoice | None) -> list[str]:
    """What speaks against an answer, in sentences.

    A text that is far from all products' is no reason by itself: shoppers write otherwise than the queries
    that the floor was found with. Where the catalogue has every word and a type clearly fits, it is not told.
    """
    remark = no_type(found.likeliest)
    fits = found.likeliest is not None and not remark
    floor = "" if fits and not found.unknown else no_match(found.near, answer)
    return [told for told in (_not_known(found.unknown), floor, printable(remark)) if told]


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    logging.disable(logging.INFO)  # libraries that tell of their own steps
    try:
        question, paths = _question(arguments), Paths()
        if arguments.like is not None:
            from components.encoder.search.search import similar

            print_hits(similar(arguments.like, question.k, question.where), arguments.json)
            return 0
        answer = read_answer(paths.fusion)
        system = chosen_system(arguments.system, question, answer)
        found = _find(question, system, answer, paths)
        reason = why(arguments.system, system, question, answer)
    except Exception as error:
        message, code = explain(error)
        print(f"error: {message}", file=sys.stderr)
        return code
    for warning in warnings(found, answer):
        print(warning, file=sys.stderr)
    if not found.hits and not question.where and not arguments.json:
        asked_by = "a word of the query" if question.text else "a picture"
        print(f"Nothing found: no product has {asked_by}.")
        return 0
    print_hits(found.hits, arguments.json, f"{reason} {found.ranked_by}".strip())
    return 0


def _find(question: Question, system: str, answer: AnswerChoice | None, paths: Paths) -> SearchResult:
    """Ask one system; nothing is imported that it does not need, no model opened for what cannot be asked."""
    picture = _picture(question.image) if question.image is not None else None
    if question.where and paths.catalogue.is_dir():
        fulfilling(paths.catalogue, question.where)
    if system == "encoder":
        from components.encoder.search.search import search as by_encoder

        hits = by_encoder(question.text, picture, question.k, question.where)
        return SearchResult(hits, "Ranked by the picture's vector.")
    if not paths.catalogue.is_dir():
        raise FusionConfigurationError(
            f"There is no catalogue at {paths.catalogue.absolute()}; run the graph."
        )
    params, fusion = load_params("fusion_search", SearchParams), load_params("fusion", FusionParams)
    if system == "bm25":
        return by_words(question, paths.catalogue, fusion)
    import torch

    torch.set_num_threads(params.threads)
    if system not in PLAIN:
        from components.search.search import open_model, search

        model = open_model(paths.fusion, system, params.encode, paths.cache, params.threads)
        check_towers(answer, model.towers.model.model_sha256)
        return search(model, question.text, question.k, question.where, paths.catalogue)
    from components.search.sums import by_sum

    return by_sum(question, picture, system, answer, paths)
