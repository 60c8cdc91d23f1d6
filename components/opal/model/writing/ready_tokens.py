"""Batches from answers that were turned into tokens once, for a processor that gives every picture alike.

TRL's collator asks the processor for each batch: pictures as PIL images, texts taken apart anew. Before every
step of the small model that took a seventh of the step. Where a picture always becomes the same tokens and
its pixels go to the tower as they are, both can be said once (tested: the same batch, bit by bit).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers import CLIPImageProcessor, LlavaProcessor

from components.opal.model.language.listing_model import ListingModel, as_input

Weigh = Callable[[str, Sequence[tuple[int, int]]], list[float]]  # a text and its tokens' places to weights
IGNORED = -100  # a label that is not scored


def pictures_are_alike(model: ListingModel, pictures: npt.NDArray[Any]) -> bool:
    """Whether a picture is always as many tokens, and goes to the tower as it is.

    So it is with a tower's tokens, and with pixels ``[B, px, px, 3]`` that the processor hands on unchanged.
    """
    images = getattr(model.processor, "image_processor", None)
    if type(model.processor) is not LlavaProcessor or not isinstance(images, CLIPImageProcessor):
        return False
    changed = images.do_rescale or images.do_normalize or images.do_center_crop
    side = pictures.shape[1]
    return pictures.ndim == 3 or (not changed and dict(images.size) == {"height": side, "width": side})


def as_images(model: ListingModel, pictures: npt.NDArray[Any]) -> list[Image.Image]:
    """Pixels for a processor; in place of tokens blank pictures, which become as many tokens."""
    if pictures.ndim == 3:
        return [_blank(model)] * len(pictures)
    return [Image.fromarray(picture) for picture in pictures]


def _blank(model: ListingModel) -> Image.Image:
    size = model.processor.image_processor.size
    return Image.new("RGB", (size["width"], size["height"]))


def prompt_tokens(model: ListingModel, prompts: Sequence[str]) -> dict[str, list[int]]:
    """Tokens of each distinct prompt, those of its picture included, as the processor writes them."""
    blank = _blank(model)
    options = {"add_special_tokens": False}
    return {
        prompt: model.processor(images=[[blank]], text=[prompt], **options)["input_ids"][0]
        for prompt in dict.fromkeys(prompts)
    }


class ReadyCollator:
    """TRL's prompt-completion batch, put together from known tokens.

    Args:
        model: with a processor for which ``pictures_are_alike``. prompts, completions: every text that a
            batch may hold.
    """

    def __init__(
        self,
        model: ListingModel,
        prompts: Sequence[str],
        completions: Sequence[str],
        weigh: Weigh | None = None,
    ) -> None:
        self._pad = int(model.tokenizer.pad_token_id)
        self._prompts = prompt_tokens(model, prompts)
        distinct = list(dict.fromkeys(completions))
        encoded = model.tokenizer(
            distinct, add_special_tokens=False, return_offsets_mapping=weigh is not None
        )
        self._completions = dict(zip(distinct, encoded["input_ids"], strict=True))
        self._weights: dict[str, list[float]] = {}
        if weigh is not None:
            offsets = encoded["offset_mapping"]
            self._weights = {text: weigh(text, at) for text, at in zip(distinct, offsets, strict=True)}

    def __call__(
        self, examples: Sequence[dict[str, Any]], pictures: npt.NDArray[Any]
    ) -> dict[str, torch.Tensor]:
        """``input_ids``, ``attention_mask``, ``labels`` ``[B, tokens]``, padded on the right; pictures."""
        asked = [self._prompts[example["prompt"]] for example in examples]
        answered = [self._completions[example["completion"]] for example in examples]
        longest = max(len(a) + len(b) for a, b in zip(asked, answered, strict=True))
        shape = (len(examples), longest)
        ids, mask = np.full(shape, self._pad, np.int64), np.zeros(shape, np.int64)
        labels = np.full(shape, IGNORED, np.int64)
        weights = np.zeros(shape, np.float32)
        for row, (before, after) in enumerate(zip(asked, answered, strict=True)):
            first, end = len(before), len(before) + len(after)
            ids[row, :first], ids[row, first:end] = before, after
            labels[row, first:end] = after
            mask[row, :end] = 1
            if self._weights:
                weights[row, first:end] = self._weights[examples[row]["completion"]]
        scored = {"loss_weights": torch.from_numpy(weights)} if self._weights else {}
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "pixel_values": as_input(pictures),
            "labels": torch.from_numpy(labels),
            **scored,
        }
