"""Batches of preference pairs: both answers under the product's picture, and the reference's view of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

from components.opal.model.language.listing_model import ListingModel, as_input
from components.opal.model.train.trainer_setup import Pictures, by_processor
from components.opal.model.writing.ready_tokens import pictures_are_alike, prompt_tokens

Together = Callable[[list[dict[str, Any]], npt.NDArray[Any]], Any]
REFERENCE = ("ref_chosen_logps", "ref_rejected_logps")  # TRL's names
OTHER = "ref_other_logps"  # of the chosen answer under another picture


class PairCollator:
    """Fetches the pictures of a batch, has it put together, and adds the reference's log-probabilities.

    TRL's collator for vision drops them, though its trainer reads them.

    Args:
        together: makes a batch of examples and their pictures. kept: share of a picture that is left in the
            other one, where examples name another product.
    """

    def __init__(self, together: Together, pictures: Pictures, kept: float = 0.0) -> None:
        self.together, self.pictures, self.kept = together, pictures, kept
        self.seconds = 0.0

    def __call__(self, examples: list[dict[str, Any]]) -> Any:
        """The batch of ``examples``, chosen answers first; ``seconds`` adds up what all of them took.

        Examples that name another product have the chosen answers under that picture as ``other``.
        """
        start = time.perf_counter()
        rows = np.array([example["position"] for example in examples], dtype=np.int64)
        shown = self.pictures(rows)
        batch = self.together(examples, shown)
        if "other" in examples[0]:
            others = self.pictures(np.array([example["other"] for example in examples], dtype=np.int64))
            alike = [{**example, "rejected": example["chosen"]} for example in examples]
            twice = self.together(alike, damaged(shown, others, self.kept, rows))
            batch["other"] = {name: value[: len(value) // 2] for name, value in twice.items()}
        for name in (*REFERENCE, OTHER):
            if name in examples[0]:
                batch[name] = torch.tensor([example[name] for example in examples])
        self.seconds += time.perf_counter() - start
        return batch


def damaged(
    shown: npt.NDArray[Any], others: npt.NDArray[Any], kept: float, seeds: npt.NDArray[np.int64]
) -> npt.NDArray[Any]:
    """The ``others`` with a share ``kept`` of what is ``shown``: a square of pixels, or drawn tokens.

    Args:
        shown, others: pixels ``[N, px, px, 3]`` or a tower's tokens ``[N, tokens, D]``. seeds: of the draws;
            a picture is damaged alike each time.
    """
    out = np.array(others)
    for row, seed in enumerate(seeds):
        random = np.random.default_rng([int(seed)])
        if out.ndim == 3:
            places = random.permutation(out.shape[1])[: round(kept * out.shape[1])]
            out[row, places] = shown[row, places]
        else:
            side = round(kept**0.5 * out.shape[1])
            top, left = random.integers(0, out.shape[1] - side + 1, size=2)
            square = np.s_[row, top : top + side, left : left + side]
            out[square] = shown[square]
    return out


class ReadyPairs:
    """TRL's batch of pairs, put together from tokens known beforehand.

    Args:
        model: with a processor for which ``pictures_are_alike``. prompts, answers: every text of all batches.
    """

    def __init__(self, model: ListingModel, prompts: Sequence[str], answers: Sequence[str]) -> None:
        self._pad = int(model.tokenizer.pad_token_id)
        self._prompts = prompt_tokens(model, prompts)
        distinct = list(dict.fromkeys(answers))
        encoded = model.tokenizer(distinct, add_special_tokens=False)["input_ids"]
        self._answers = dict(zip(distinct, encoded, strict=True))

    def __call__(
        self, examples: Sequence[dict[str, Any]], pictures: npt.NDArray[Any]
    ) -> dict[str, torch.Tensor]:
        """``input_ids``, ``attention_mask``, ``completion_mask`` ``[2B, tokens]``, padded on the right."""
        asked = [self._prompts[example["prompt"]] for example in examples] * 2
        sides = [example[side] for side in ("chosen", "rejected") for example in examples]
        answered = [self._answers[text] for text in sides]
        shape = (len(asked), max(len(a) + len(b) for a, b in zip(asked, answered, strict=True)))
        ids = np.full(shape, self._pad, np.int64)
        mask, scored = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, (before, after) in enumerate(zip(asked, answered, strict=True)):
            first, end = len(before), len(before) + len(after)
            ids[row, :first], ids[row, first:end] = before, after
            mask[row, :end], scored[row, first:end] = 1, 1
        shown = as_input(pictures)
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "completion_mask": torch.from_numpy(scored),
            "pixel_values": torch.cat([shown, shown]),
        }


def trl_pairs(model: ListingModel) -> Together:
    """TRL's own collator, which asks the processor for each batch anew: it fits every model."""
    return by_processor(model, DataCollatorForVisionPreference(model.processor, max_length=None))


def pair_collator(model: ListingModel, pictures: Pictures, data: Any, kept: float = 0.0) -> PairCollator:
    """Makes batches of ``data``, without any cutting: TRL's, or the same from tokens known beforehand."""
    if pictures_are_alike(model, pictures(np.array([data[0]["position"]]))):
        ready = ReadyPairs(model, data["prompt"], [*data["chosen"], *data["rejected"]])
        return PairCollator(ready, pictures, kept)
    return PairCollator(trl_pairs(model), pictures, kept)
