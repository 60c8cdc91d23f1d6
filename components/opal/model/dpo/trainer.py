"""TRL's DPO trainer for vision, with the reference's log-probabilities computed once.

TRL refuses to precompute them where rows hold pictures, because its collator makes batches on the fly. Ours
does too, but asked again it makes the same batch: rows name the product, whose picture comes by position.
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from trl import DPOTrainer

from components.opal.model.dpo.batches import REFERENCE
from components.opal.model.train.trainer_setup import ExactResume
from components.stage.progress import Progress

IDENTITY = ("position", "prompt", "chosen", "rejected")  # of a pair


class PreferenceTrainer(ExactResume, DPOTrainer):
    """Resumes from the very weights it had; with ``precompute_ref_log_probs`` it keeps no reference model."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """As it is: the collator makes tokens and fetches pictures."""
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """The dataset with two more columns: what the first weights think of either answer.

        A pair that comes in several epochs is computed once. Pairs of about one length are computed together.
        """
        texts = list(zip(*(dataset[n] for n in IDENTITY), strict=True))
        first = {text: at for at, text in reversed(list(enumerate(texts)))}
        rows = sorted(first.values(), key=lambda at: len(texts[at][2]) + len(texts[at][3]))
        collator: Any = self.data_collator
        loader = DataLoader(dataset.select(rows), batch_size, collate_fn=collator)
        progress = Progress("reference", len(rows), "pairs")
        parts = []
        for batch in self.accelerator.prepare(loader):
            found = self.compute_ref_log_probs(self.model, batch)
            parts.append(torch.stack(self.accelerator.gather_for_metrics(found)).float().cpu())
            progress.advance(parts[-1].shape[1])
        known = {texts[at]: pair for at, pair in zip(rows, torch.cat(parts, dim=1).T.tolist(), strict=True)}
        for column, column_name in enumerate(REFERENCE):
            dataset = dataset.add_column(column_name, [known[text][column] for text in texts])
        return dataset
