"""Batches of questions about pictures and their answers, of which the answers alone are scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from components.opal.model.language.listing_model import ListingModel
from components.opal.model.sft.samples import Sample
from components.opal.model.sft.value_weights import attribute_weights, token_weights
from components.opal.model.train.trainer_setup import PictureCollator, Pictures, by_processor
from components.opal.model.writing.conversation import Conversation
from components.opal.model.writing.ready_tokens import ReadyCollator, Weigh, pictures_are_alike

LEAST_SHARE = 0.01  # an attribute that fewer listings have counts no more


def sft_dataset(samples: Sequence[Sample], conversation: Conversation) -> Dataset:
    """TRL's prompt-completion rows; ``images`` holds the row of the product until a batch is made."""
    return Dataset.from_dict(
        {
            "prompt": [conversation.prompt(s.question) for s in samples],
            "completion": [conversation.answer(s.answer) for s in samples],
            "images": [[s.position] for s in samples],
        }
    )


def sft_collator(
    model: ListingModel, pictures: Pictures, data: Dataset, rarity: float = 0.0
) -> PictureCollator:
    """Makes batches of ``data``, with loss on the completion and without any cutting.

    TRL's collator, or the same batch from tokens known beforehand where the processor allows it.
    """
    if pictures_are_alike(model, pictures(np.array([data[0]["images"][0]]))):
        weigh = _weigher(Conversation(model), data["completion"], rarity) if rarity else None
        return PictureCollator(ReadyCollator(model, data["prompt"], data["completion"], weigh), pictures)
    return PictureCollator(by_processor(model, trl_collator(model)), pictures)


def _weigher(conversation: Conversation, completions: Sequence[str], rarity: float) -> Weigh:
    """Weights of the tokens of a completion, by how rare the attribute is that they tell."""
    ending = conversation.ending
    weights = attribute_weights([text.removesuffix(ending) for text in completions], rarity, LEAST_SHARE)
    return lambda text, offsets: token_weights(text.removesuffix(ending), offsets, weights)


def trl_collator(model: ListingModel) -> DataCollatorForVisionLanguageModeling:
    """TRL's own."""
    return DataCollatorForVisionLanguageModeling(model.processor, max_length=None, completion_only_loss=True)
