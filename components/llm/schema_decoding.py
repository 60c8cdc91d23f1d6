"""Decoding under a JSON Schema, with llguidance: a token that would break the schema cannot be chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def token_grammar(tokenizer: Any, vocabulary_size: int) -> Any:
    """llguidance's view of a fast tokenizer; make it once per model."""
    import llguidance.hf

    return llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary_size)


class SchemaDecoding:
    """A logits processor for one sequence, in the sense of transformers.

    Args:
        tokens: of ``token_grammar``. schema: JSON text. prompt_length: tokens before the answer.
        end: the token that ends an answer; all that is left once the JSON is complete.
    """

    def __init__(self, tokens: Any, schema: str, prompt_length: int, end: int) -> None:
        import llguidance
        import llguidance.torch

        # compact separators: free whitespace lets a weak model write blanks until it is cut
        grammar = llguidance.LLMatcher.grammar_from_json_schema(
            schema, defaults={"whitespace_flexible": False}
        )
        self._matcher = llguidance.LLMatcher(tokens, grammar)
        self._mask = llguidance.torch.allocate_token_bitmask(1, tokens.vocab_size)
        self._seen, self._end = prompt_length, end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores ``[1, vocabulary]`` with minus infinity at every token that breaks the schema."""
        import llguidance.torch
        import torch

        for token in input_ids[0, self._seen :].tolist():
            self._matcher.consume_token(token)
        self._seen = input_ids.shape[1]
        if self._matcher.is_stopped():
            ended = torch.full_like(scores, float("-inf"))
            ended[:, self._end] = 0.0
            return ended
        llguidance.torch.fill_next_token_bitmask(self._matcher, self._mask, 0)
        llguidance.torch.apply_token_bitmask_inplace(scores, self._mask.to(scores.device))
        return scores
