"""Log-probabilities of given answers: what a model thinks of words it did not choose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from components.opal.model.language.listing_model import ListingModel
from components.opal.model.sft.batches import sft_collator, sft_dataset
from components.opal.model.sft.samples import Sample
from components.opal.model.train.trainer_setup import Pictures
from components.opal.model.writing.conversation import Conversation
from components.opal.model.writing.ready_tokens import IGNORED
from components.stage.resources.accelerator import autocast, device


def answer_log_probabilities(
    model: ListingModel, samples: Sequence[Sample], pictures: Pictures, batch_size: int, precision: str
) -> npt.NDArray[np.float64]:
    """The log-probability of each sample's whole answer, in nats ``[samples]``."""
    data = sft_dataset(samples, Conversation(model))
    collator = sft_collator(model, pictures, data)
    order = sorted(range(len(samples)), key=lambda i: len(samples[i].answer))  # little padding
    out = np.zeros(len(samples))
    network = model.model.to(device()).eval()
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = {name: value.to(device()) for name, value in collator([data[i] for i in chosen]).items()}
        labels = batch.pop("labels")
        first = int((labels != IGNORED).any(dim=0).nonzero()[0])  # a prompt stands before it
        with torch.inference_mode(), autocast(device(), precision):
            logits = network(**batch, use_cache=False, logits_to_keep=labels.shape[1] - first + 1).logits
        scores = logits[:, :-1].float().log_softmax(dim=-1)
        wanted = labels[:, first:]
        said = scores.gather(2, wanted.clamp(min=0)[:, :, None]).squeeze(2) * (wanted != IGNORED)
        out[chosen] = said.sum(dim=1).cpu().numpy()
    return out
