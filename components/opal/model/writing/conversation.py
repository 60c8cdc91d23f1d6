"""Questions and answers in the words of a model's own chat template, and how long they are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

from PIL import Image

from components.opal.model.errors import ListingDataError
from components.opal.model.language.listing_model import ListingModel

MARK = "\u2402answer\u2402"  # stands for an answer while a template is taken apart


class Conversation:
    """Renders prompts and answers for one processor.

    Templates are rendered once per distinct question and the answer is put in by text: rendering every sample
    of every step would cost more than the small model's own step.
    """

    def __init__(self, model: ListingModel) -> None:
        self.model = model
        self.prompt = cache(self._prompt)

    def _user(self, question: str) -> dict[str, Any]:
        return {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}

    def _render(self, messages: list[dict[str, Any]], **options: Any) -> str:
        return str(self.model.processor.apply_chat_template(messages, tokenize=False, **options))

    def _prompt(self, question: str) -> str:
        return self._render([self._user(question)], add_generation_prompt=True)

    @cached_property
    def ending(self) -> str:
        """What the template writes behind an answer; the model learns to stop there.

        Some templates end a turn with a space or nothing: then the sign that ends a text is put there.
        """
        answer = {"role": "assistant", "content": [{"type": "text", "text": MARK}]}
        written = self._render([self._user("?"), answer]).split(MARK, 1)[1]
        return written if self._special(written) else str(self.model.tokenizer.eos_token)

    @cached_property
    def ends(self) -> list[int]:
        """Tokens that end an answer: of a text, of a turn where the template has another one, and padding."""
        tokenizer = self.model.tokenizer
        return sorted({tokenizer.eos_token_id, tokenizer.pad_token_id, *self._special(self.ending)[:1]})

    def _special(self, text: str) -> list[int]:
        """The special tokens of a text, in its order."""
        ids = self.model.tokenizer(text, add_special_tokens=False)["input_ids"]
        added = self.model.tokenizer.added_tokens_decoder
        return [token for token in ids if token in added and added[token].special]

    def answer(self, text: str) -> str:
        """The answer as the model must write it."""
        return text + self.ending


def image_tokens(model: ListingModel, picture: Image.Image) -> int:
    """How many tokens the processor makes of one picture, counted on its real output."""
    conversation = Conversation(model)
    prompt = conversation.prompt("?")
    inputs = model.processor(images=[[picture]], text=[prompt], add_special_tokens=False, return_tensors="pt")
    bare = model.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return int(inputs["input_ids"].shape[1]) - len(bare)


def check_lengths(
    model: ListingModel, texts: Sequence[tuple[str, str]], picture: Image.Image, what: str
) -> int:
    """Count every sequence, image tokens included, before any step; the longest is returned.

    Nothing is ever cut: a cut prompt loses image tokens and a cut answer teaches to stop in the middle.

    Args:
        texts: (product_id, prompt and answer as one text). picture: of the size that all pictures have.

    Raises:
        ListingDataError: some are longer than the model can read; names them.
    """
    if not texts:
        return 0
    extra = image_tokens(model, picture)
    lengths = [count + extra for count in token_counts(model, [text for _, text in texts])]
    long = sorted({name for (name, _), n in zip(texts, lengths, strict=True) if n > model.context_length})
    longest = max(lengths)
    if long:
        raise ListingDataError(
            f"{len(long)} {what} are longer than the model's {model.context_length} tokens (up to {longest}, "
            f"{extra} of them for the picture): {', '.join(long[:5])}; raise "
            "listing.language.context_length or lower listing.vision.grid."
        )
    return longest


def token_counts(model: ListingModel, texts: Sequence[str]) -> list[int]:
    """Tokens of each text, without those of pictures."""
    if not texts:
        return []
    distinct = list(dict.fromkeys(texts))
    encoded = model.tokenizer(distinct, add_special_tokens=False)["input_ids"]
    counts = {text: len(ids) for text, ids in zip(distinct, encoded, strict=True)}
    return [counts[text] for text in texts]
