"""What it is worth to hold back products that are near to every text ("hubs").

From each score a part of the product's mean similarity to its nearest texts of a bank of train titles is
taken (querybank normalisation, Bogolin et al. 2022, arXiv 2112.12777). Of both splits the row
``fine_tuned_inferred`` is shown: the part is to be chosen on validation. Nothing is trained, and nothing of
the stages does it yet.

    python -m benchmarks.search.hubs                      # in a workspace where the encoder has run
    python -m benchmarks.search.hubs --parts 0 0.5 --bank 2000
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from components.encoder.evaluate.inferred_types import InferredTypes
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import read_held_out
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.rows import read_rows
from components.encoder.model.params import EvaluationParams
from components.encoder.model.towers.files import load_encoder
from components.retrieval.metrics import hits_at, judge, ndcg_at, reciprocal_rank
from components.retrieval.ranking import top_k
from components.stage.params import load_params
from components.stage.paths import Paths

SEED, DEPTH, NEAREST = 67, 100, 20


def main() -> None:
    """Print a line for each split, part and kind of question."""
    parser = argparse.ArgumentParser(description="Products that are near to every text, held back.")
    parser.add_argument("--parts", type=float, nargs="+", default=[0.0, 0.25, 0.5, 0.75])
    parser.add_argument("--bank", type=int, default=1000, help="train titles")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    paths, params = Paths(), load_params("encoder_eval", EvaluationParams)
    encoder = BatchEncoder(
        load_encoder(paths.encoder), params.batch_size, params.precision, paths.cache / "vectors"
    )
    features = FeatureCache.of_products(paths.catalogue, encoder, paths.cache, params.threads)
    inferred = InferredTypes(encoder, features, paths.catalogue, params.relevant_grade)
    titles = sorted({r["title"] for r in read_rows(paths.catalogue) if r["split"] == "train" and r["title"]})
    chosen = np.random.default_rng(SEED).permutation(len(titles))[: arguments.bank]
    bank = encoder.texts([titles[i] for i in chosen])
    for split in ("validation", "test"):
        held_out = read_held_out(paths.catalogue, paths.truth, split, params.relevant_grade)
        images = features.vectors(held_out.positions)
        near = np.sort(bank @ images.T, axis=0)[-NEAREST:].mean(axis=0)
        for task in held_out.tasks:
            scores = encoder.texts(task.texts) @ images.T + inferred.bonus(task, held_out)
            for part in arguments.parts:
                ranking = top_k((scores - part * near).astype(np.float32), min(DEPTH, len(near)))
                judged = judge(ranking, task.qrels)
                figures = {
                    "HITS@5": hits_at(judged, 5, params.relevant_grade),
                    "MRR": reciprocal_rank(judged, params.relevant_grade),
                    "nDCG@10": ndcg_at(judged, 10),
                }
                shown = "  ".join(f"{name} {np.nanmean(values):.3f}" for name, values in figures.items())
                print(f"{split:11} {task.name:8} {part:5}  {shown}", flush=True)


if __name__ == "__main__":
    main()
