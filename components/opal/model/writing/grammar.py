"""Decoding that can only write a listing of the category's schema: llguidance as a logits processor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from llguidance import LLExecutor, LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par
from torch import Tensor
from transformers import LogitsProcessor

from components.catalog.format.schema import CatalogSchema, listing_json_schema
from components.opal.model.errors import ListingConfigurationError
from components.opal.model.listing_text import DECIMALS, LARGEST
from components.opal.model.writing.listing_lark import listing_lark
from components.opal.model.writing.number_pattern import number_pattern


def generation_schema(
    schema: CatalogSchema, category: str, max_chars: int, require_attributes: bool, titled: bool = True
) -> dict[str, Any]:
    """The JSON Schema of a category with every text and number bounded in length.

    ``require_attributes`` False drops the list of required attributes: a model that sees one picture would
    have to invent the brand. What is left out shows in completion_rate.
    ``titled`` False: no title is written.
    """
    wanted = listing_json_schema(schema, category)
    attributes = wanted["properties"]["attributes"]
    for name, value in list(attributes["properties"].items()):
        if value.get("type") == "array" and "minLength" in value["items"]:
            items = {**value["items"], "maxLength": max_chars}
            attributes["properties"][name] = {**value, "items": items}
        elif value.get("type") == "number":
            if number := _bounded(value):
                attributes["properties"][name] = number
            else:
                del attributes["properties"][name]
        elif value.get("type") == "string":
            attributes["properties"][name] = {**value, "maxLength": max_chars}
    if titled:
        wanted["properties"]["title"]["maxLength"] = max_chars
    else:
        del wanted["properties"]["title"]
        wanted["required"] = ["attributes"]
    if not require_attributes:
        attributes["required"] = []
    attributes["required"] = [name for name in attributes["required"] if name in attributes["properties"]]
    return wanted


def _bounded(number: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of a number within bounds, whose digits end; None if none can be written."""
    low, high = max(-LARGEST, number.get("minimum", -LARGEST)), min(LARGEST, number.get("maximum", LARGEST))
    if low > high or not number_pattern(Decimal(repr(low)), Decimal(repr(high)), DECIMALS):
        return None
    return {"type": "number", "minimum": low, "maximum": high}


class Grammars:
    """Grammars of a catalogue's categories for one tokenizer; a category is compiled once.

    Args:
        vocabulary: width of the scores. max_chars: of the title and of a text. titled: a title is written.
    """

    def __init__(
        self,
        schema: CatalogSchema,
        tokenizer: Any,
        vocabulary: int,
        max_chars: int,
        require_attributes: bool,
        *,
        titled: bool = True,
    ) -> None:
        self.schema, self.vocabulary, self.titled = schema, vocabulary, titled
        self.max_chars, self.require_attributes = max_chars, require_attributes
        self.end = int(tokenizer.eos_token_id)
        self.tokenizer: LLTokenizer = from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=self.end)
        self._first: dict[str, LLMatcher] = {}

    def matcher(self, category: str) -> LLMatcher:
        """A fresh matcher at the start of a listing of this category.

        Raises:
            ListingConfigurationError: the grammar does not compile.
        """
        if category not in self._first:
            limits = (self.max_chars, self.require_attributes, self.titled)
            wanted = generation_schema(self.schema, category, *limits)
            grammar = LLMatcher.grammar_from_lark(listing_lark(wanted))
            matcher = LLMatcher(self.tokenizer, grammar)
            if matcher.is_error():
                raise ListingConfigurationError(
                    f"The schema of category {category!r} gives no grammar: {matcher.get_error()[:200]}."
                )
            self._first[category] = matcher
        return self._first[category].deep_copy()


class ListingGrammar(LogitsProcessor):
    """Forbids every token that cannot go on to a valid listing; rows that have ended are left alone.

    Args:
        grammars: of the tokenizer in use. categories: of the rows of the batch.
        prompt_length: tokens before the first generated one.
    """

    def __init__(self, grammars: Grammars, categories: Sequence[str], prompt_length: int) -> None:
        self.matchers = [grammars.matcher(category) for category in categories]
        self.ended = [False] * len(self.matchers)
        self.grammars, self.prompt_length = grammars, prompt_length
        self.bitmask = allocate_token_bitmask(len(self.matchers), grammars.vocabulary)
        # A thread pool of its own would fight torch's for the same cores.
        self.executor = LLExecutor(num_threads=max(1, min(torch.get_num_threads(), os.cpu_count() or 1)))

    def _consume(self, tokens: list[int]) -> None:
        """Move every row's matcher over its newest token."""
        for row, token in enumerate(tokens):
            if self.ended[row]:
                continue
            if token == self.grammars.end:
                self.ended[row] = True
            elif not self.matchers[row].consume_token(token):
                raise ListingConfigurationError(
                    f"The grammar refused a token it had allowed: {self.matchers[row].get_error()[:200]}."
                )

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores ``[rows, vocabulary]`` with forbidden tokens at minus infinity."""
        if input_ids.shape[1] > self.prompt_length:
            self._consume(input_ids[:, -1].tolist())
        self.bitmask.fill(-1)
        live = [(self.matchers[row], row) for row, ended in enumerate(self.ended) if not ended]
        if live:
            fill_next_token_bitmask_par(self.executor, live, self.bitmask)
        bits = np.unpackbits(self.bitmask.view(np.uint8), axis=1, bitorder="little")
        allowed = torch.from_numpy(bits[:, : scores.shape[1]].astype(bool)).to(scores.device)
        return scores.masked_fill(~allowed, float("-inf"))
