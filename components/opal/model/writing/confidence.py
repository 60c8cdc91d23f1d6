"""How sure a model was of each value: the probability of the tokens that write it, and of its end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import LogitsProcessor

from components.opal.model.listing_text import compact_json

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
ENDINGS = (b'"', b",}")  # the signs that end a text or an item of a list, and a number


class StepScores(NamedTuple):
    """Log-probabilities of every step of one answer ``[steps]``."""

    chosen: Floats  # of the token that was written
    endings: tuple[Floats, Floats]  # that any token was written which ends a text, and a number


class ChosenProbabilities(LogitsProcessor):
    """Keeps the log-probability of every step's best token; in greedy decoding that is the chosen one.

    And of all tokens together that would end a value there: which key follows is no part of the value.

    Args:
        endings: of each of ``ENDINGS`` the tokens that start with one of its signs.
    """

    def __init__(self, endings: Sequence[Tensor]) -> None:
        self.endings = endings
        self.steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores as they came."""
        shares = scores.float().log_softmax(dim=-1)
        parts = [shares.max(dim=-1).values]
        parts += [shares[:, tokens].logsumexp(dim=-1) for tokens in self.endings]
        self.steps.append(torch.stack(parts))
        return scores

    def rows(self) -> list[StepScores]:
        """One for each row of the batch."""
        every = torch.stack(self.steps, dim=-1).cpu().numpy()  # [3, rows, steps]
        return [StepScores(row[0], (row[1], row[2])) for row in every.transpose(1, 0, 2)]


def ending_tokens(tokens: Sequence[bytes]) -> list[list[int]]:
    """For each of ``ENDINGS`` the tokens that start with one of its signs."""
    return [
        [i for i, written in enumerate(tokens) if written[:1] and written[:1] in signs] for signs in ENDINGS
    ]


DECODER = json.JSONDecoder()


class _Span(NamedTuple):
    """Characters ``start`` to ``end`` of a value without its quotation marks."""

    start: int
    end: int
    ending: int  # which of ENDINGS comes behind it


def _spans(text: str, start: int) -> tuple[list[_Span], int]:
    """Where the JSON value at ``start`` says something, or each item of its list does; and where it ends."""
    value, end = DECODER.raw_decode(text, start)
    if not isinstance(value, list):
        quoted = isinstance(value, str)
        return [_Span(start + quoted, end - quoted, 0 if quoted else 1)], end
    spans, at = [], start + 1
    for _ in value:
        found, at = _spans(text, at)
        spans += found
        at += 1  # the comma
    return spans, end


def _places(text: str) -> Iterator[tuple[str, list[_Span]]]:
    """Every part of a listing with its spans; one that is not written compactly is left out."""
    at, said = 0, json.loads(text)
    attributes = said["attributes"]
    for part in said:
        for name in attributes if part == "attributes" else [part]:
            key = compact_json(name) + ":"
            found = text.find(key, at)
            try:
                spans, at = _spans(text, found + len(key) if found >= 0 else len(text))
            except ValueError:  # a space, or a name with escapes
                continue
            if part == "attributes" or name not in attributes:  # which may be called "title"
                yield name, spans


def span_confidence(text: str, starts: Ints, ends: Ints, scores: StepScores) -> dict[str, float]:
    """Probability of each value: of the tokens that write it, and that it ends where it does.

    "no" is less than half of "no handle", so the end counts; the name of the attribute before it, and what
    follows, do not.

    Args:
        text: compact JSON of a listing. starts, ends: byte offsets of its tokens ``[tokens]``.
    """
    out = {}
    for name, spans in _places(text):
        total = 0.0
        for span in spans:
            first, last = (len(text[:at].encode()) for at in (span.start, span.end))
            total += float(scores.chosen[: len(starts)][(starts < last) & (ends > first)].sum())
            behind = np.flatnonzero(starts == last)
            if len(behind):  # else one token writes the end of the value and its quotation mark
                total += float(scores.endings[span.ending][behind[0]])
        out[name] = float(np.exp(total))
    return out
