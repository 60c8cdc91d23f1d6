"""Direct preference optimisation with TRL against an explicit reference (Rafailov et al. 2023)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from trl import DPOConfig

from components.opal.model.dpo.batches import pair_collator
from components.opal.model.dpo.trainer import PreferenceTrainer, Terms
from components.opal.model.errors import ListingDataError
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.params import DpoParams
from components.opal.model.preferences.pairs import PreferencePair, check_pairs
from components.opal.model.train.run import TuningRun
from components.opal.model.train.trainer_setup import (
    Checkpoints,
    Pictures,
    batch_names,
    common_arguments,
    lora_config,
)
from components.opal.model.train.tuned_model import TunedModel, trained
from components.opal.model.writing.conversation import Conversation, check_lengths
from components.opal.model.writing.ready_tokens import as_images

CURVES = {
    "loss": "loss",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "rewards/image": "image_margin",
    "rewards/anchor": "anchor_margin",
    "logps/chosen": "logp_chosen",
    "logps/rejected": "logp_rejected",
    "learning_rate": "learning_rate",
}


def ordered_pairs(pairs: Sequence[PreferencePair], needed: int, seed: int) -> list[PreferencePair]:
    """The pairs of every step: shuffled epochs, each a function of (seed, epoch)."""
    epochs = -(-needed // len(pairs))
    order = [np.random.default_rng([seed, epoch]).permutation(len(pairs)) for epoch in range(epochs)]
    return [pairs[i] for i in np.concatenate(order)[:needed]]


def preference_dataset(
    pairs: Sequence[PreferencePair], positions: Mapping[str, int], conversation: Conversation
) -> Dataset:
    """TRL's preference rows; ``position`` is the row of the product, whose picture comes with the batch."""
    return Dataset.from_dict(
        {
            "prompt": [conversation.prompt(p.prompt) for p in pairs],
            "chosen": [conversation.answer(p.chosen) for p in pairs],
            "rejected": [conversation.answer(p.rejected) for p in pairs],
            "position": [positions[p.product_id] for p in pairs],
        }
    )


def other_products(pairs: Sequence[PreferencePair], positions: Mapping[str, int], seed: int) -> list[int]:
    """For each pair the row of another product that is listed otherwise, drawn once a product.

    Of its category, or where there is none of any; empty where all products are listed alike.
    """
    listed = {pair.product_id: (pair.category, pair.chosen) for pair in pairs}
    names = sorted(listed)
    drawn: dict[str, int] = {}
    for name in names:
        category, answer = listed[name]
        order = np.random.default_rng([seed, 1, positions[name]]).permutation(len(names))
        others = [names[i] for i in order if listed[names[i]][1] != answer]
        found = next((other for other in others if listed[other][0] == category), next(iter(others), None))
        if found is None:
            return []
        drawn[name] = positions[found]
    return [drawn[pair.product_id] for pair in pairs]


def loss_terms(params: DpoParams) -> dict[str, list[Any]]:
    """TRL's own terms that have a weight, as its configuration names them."""
    weights = {"sigmoid": params.sigmoid_weight, "bco_pair": params.bco_weight, "sft": params.sft_weight}
    used = {name: weight for name, weight in weights.items() if weight}
    return {"loss_type": list(used), "loss_weights": list(used.values())}


def prefer(
    model: ListingModel,
    pairs: Sequence[PreferencePair],
    positions: Mapping[str, int],
    pictures: Pictures,
    run: TuningRun[DpoParams],
) -> TunedModel:
    """Train towards the chosen answers, or go on from the newest checkpoint of ``run``.

    The reference is the model before the first step. What it thinks of each answer is computed once, or
    ``online`` in every step: by a copy of the model, with LoRA by the same weights with the adapter off.

    Raises:
        ListingDataError: equal sides, unknown products, or sequences too long (before any step).
        ListingDivergedError: a loss was not finite.
    """
    check_pairs(pairs)
    if unknown := sorted({p.product_id for p in pairs} - set(positions))[:5]:
        raise ListingDataError(
            f"preference pairs name products that are not in the catalogue: {', '.join(unknown)}."
        )
    params, training = run.params, run.params.training
    per_step = training.batch_size * training.accumulation
    ordered = ordered_pairs(pairs, training.steps * per_step, params.seed)
    conversation = Conversation(model)
    longest = _check(model, ordered, positions, pictures, conversation)
    data = preference_dataset(ordered, positions, conversation)
    others = other_products(ordered, positions, params.seed) if params.image_weight else []
    if others:
        data = data.add_column("other", others)
    online = params.reference == "online"
    trainer = PreferenceTrainer(
        model=model.model,
        ref_model=copy.deepcopy(model.model) if online and run.listing.lora is None else None,
        args=DPOConfig(
            **common_arguments(run),
            precompute_ref_log_probs=not online,
            precompute_ref_batch_size=params.reference_batch_size,
            beta=params.beta,
            **loss_terms(params),
        ),
        train_dataset=data,
        data_collator=pair_collator(model, pictures, data, params.image_kept),
        processing_class=model.processor,
        peft_config=lora_config(run.listing.lora, model.model),
        callbacks=[Checkpoints(run, "preferring", lambda step: batch_names(ordered, per_step, step))],
    )
    trainer.muon = training.optimiser == "muon"
    image = params.image_weight if others else 0.0
    trainer.terms = Terms(image, params.anchor_weight, params.anchor_delta)
    return trained(trainer, model, CURVES, run.resume, longest)


def _check(
    model: ListingModel,
    pairs: Sequence[PreferencePair],
    positions: Mapping[str, int],
    pictures: Pictures,
    conversation: Conversation,
) -> int:
    """Length of the longest answer with its prompt; refuses what the model cannot read."""
    first = as_images(model, pictures(np.array([positions[pairs[0].product_id]])))[0]
    texts = [
        (p.product_id, conversation.prompt(p.prompt) + conversation.answer(side))
        for p in pairs
        for side in (p.chosen, p.rejected)
    ]
    return check_lengths(model, texts, first, "preference answers")
