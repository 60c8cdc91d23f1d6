"""TRL's DPO trainer for vision, with a reference that is computed once, and two terms of mDPO's loss.

TRL refuses to precompute the reference where rows hold pictures, because its collator makes batches on the
fly. Ours does too, but asked again it makes the same batch: rows name the product, whose picture comes by
position.

The terms (Wang et al. 2024, "mDPO: Conditional Preference Optimization for Multimodal Large Language Models",
arXiv 2406.11839), with the reward r(y, m) = beta (log p(y | m) - log p_ref(y | m)) of an answer y to a
picture m, the chosen answer y+ and another picture m-:

    image:  -log sigmoid(r(y+, m) - r(y+, m-))        anchor:  -log sigmoid(r(y+, m) - delta)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from trl import DPOTrainer

from components.opal.model.dpo.batches import OTHER, REFERENCE
from components.opal.model.train.trainer_setup import ExactResume
from components.stage.progress import Progress

IDENTITY = ("position", "other", "prompt", "chosen", "rejected")  # of a pair


class Terms(NamedTuple):
    """Weights of the terms that TRL lacks, and the reward from which the anchor is content."""

    image: float = 0.0
    anchor: float = 0.0
    delta: float = 0.0


class Recorded:
    """Calls a model, and keeps what it gave: the loss around it is one long method of TRL."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.outputs: Any = None

    def __call__(self, **inputs: Any) -> Any:
        """The model's outputs."""
        self.outputs = self.model(**inputs)
        return self.outputs


class PreferenceTrainer(ExactResume, DPOTrainer):
    """Resumes from the very weights it had; with ``precompute_ref_log_probs`` it keeps no reference model.

    The terms need that, and the image term batches with ``other``.
    """

    terms = Terms()  # set before training

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        """TRL's loss and the weighted terms."""
        other, known = inputs.pop("other", None), inputs.pop(OTHER, None)
        seen = Recorded(model)
        loss = super()._compute_loss(seen, inputs, False)
        if self.terms.image or self.terms.anchor:
            chosen = seen.outputs.log_probs.sum(dim=1).chunk(2)[0] - inputs[REFERENCE[0]]
            if self.terms.image:
                swapped = self._answer_logps(model, other) - known
                loss = loss + self.terms.image * self._noted("image", self.beta * (chosen - swapped))
            if self.terms.anchor:
                gain = self.beta * chosen - self.terms.delta
                loss = loss + self.terms.anchor * self._noted("anchor", gain)
        return (loss, seen.outputs) if return_outputs else loss

    def _noted(self, name: str, margin: Tensor) -> Tensor:
        """The mean of -log sigmoid of a margin ``[B]``, whose mean goes to the log."""
        self._metrics["train"][f"rewards/{name}"].append(margin.detach().mean().item())
        return -F.logsigmoid(margin).mean()

    def _answer_logps(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Log-probabilities of whole answers ``[B]``."""
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        rest = {name: value for name, value in inputs.items() if name != "completion_mask"}
        logps: Tensor = model(**rest, labels=labels, use_cache=False, fused_lm_head=True).log_probs.sum(dim=1)
        return logps

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """As it is: the collator makes tokens and fetches pictures."""
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """The dataset with two or three more columns: what the first weights think of the answers.

        A pair that comes in several epochs is computed once. Pairs of about one length are computed together.
        """
        names = [n for n in IDENTITY if n in dataset.column_names]
        keys = list(zip(*(dataset[n] for n in names), strict=True))
        first = {key: at for at, key in reversed(list(enumerate(keys)))}
        rows = sorted(first.values(), key=lambda at: len(keys[at][-1]) + len(keys[at][-2]))
        collator: Any = self.data_collator
        loader = DataLoader(dataset.select(rows), batch_size, collate_fn=collator)
        progress = Progress("reference", len(rows), "pairs")
        parts = []
        for batch in self.accelerator.prepare(loader):
            found = self.accelerator.gather_for_metrics(self._reference(batch))
            parts.append(torch.stack(found).float().cpu())
            progress.advance(parts[-1].shape[1])
        known = dict(zip([keys[at] for at in rows], torch.cat(parts, dim=1).T.tolist(), strict=True))
        columns = [*REFERENCE, OTHER][: len(parts[0])]
        for place, column in enumerate(columns):
            dataset = dataset.add_column(column, [known[key][place] for key in keys])
        return dataset

    def _reference(self, batch: dict[str, Any]) -> tuple[Tensor, ...]:
        """What the first weights think of both answers, and of the chosen one under the other picture."""
        other = batch.pop("other", None)
        pair = self.compute_ref_log_probs(self.model, batch)
        if other is None:
            return tuple(pair)
        return (*pair, torch.cat(self.compute_ref_log_probs(self.model, other)))
