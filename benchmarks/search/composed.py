"""A picture and a word: "this one, but navy". Text alone, picture alone, and both, on held-out products.

    python -m benchmarks.search.composed            # in a workspace where fusion has run
    python -m benchmarks.search.composed --split validation

A query is a product's picture and one changed attribute value; :mod:`components.fusion.answer.composed` says
what answers it. The product itself and its group are no answers and are taken out. Weights come from
validation (``models/fusion/answer.json``). Of the chosen split nothing is tuned.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from components.catalog.format.schema import read_schema
from components.fusion.answer.answer import read_answer
from components.fusion.answer.composed import BARRED, BEST, composed_queries, composed_scores
from components.fusion.evaluate.held_out import Settings, open_towers
from components.fusion.evaluate.params import FusionEvaluationParams
from components.fusion.model.baselines import lexical_index, weighted_sum
from components.fusion.model.fuse.item_vectors import QueryInputs
from components.fusion.model.params import FusionParams
from components.fusion.model.towers.towers import joined
from components.retrieval.metrics import hits_at, judge, ndcg_at, reciprocal_rank
from components.retrieval.ranking import top_k
from components.retrieval.significance import bootstrap_interval, paired_bootstrap
from components.stage.params import load_params
from components.stage.paths import Paths

SEED, SAMPLES, DEPTH = 61, 2000, 100


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Text, picture, and both, for pictures with one change.")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--most", type=int, default=1000, help="queries")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    paths, fusion = Paths(), load_params("fusion", FusionParams)
    answer = read_answer(paths.fusion)
    if answer is None:
        raise SystemExit("models/fusion/answer.json is missing: vitrine run fusion")
    evaluation = load_params("fusion_eval", FusionEvaluationParams)
    towers = open_towers(
        paths.fusion / "align_image", Settings(fusion, evaluation, paths.catalogue, paths.cache)
    )
    items = joined(towers.stream(paths.catalogue, arguments.split))
    closed = read_schema(paths.catalogue / "schema.json").closed_attributes()
    queries = composed_queries(items.rows, closed, arguments.most)
    index = lexical_index(items, fusion.text.fields, fusion.bm25)
    asked = QueryInputs.of(towers.queries(queries.texts), queries.texts, index)
    sources = composed_scores(asked, items.image[queries.sources], items, answer.hybrid_image)
    sources = [np.where(queries.barred, BARRED, scores).astype(np.float32) for scores in sources]
    parts = (answer.parts.text, answer.parts.image)
    rows = {"text alone": (1.0, 0.0), "picture alone": (0.0, 1.0), "both": parts}
    print(
        f"{arguments.split}: {len(queries.texts):,} queries, {len(items.rows):,} products; both = {parts}\n"
    )
    print("| asked with | HITS@5, all else kept | MRR, all else kept | nDCG@10 |\n|---|---|---|---|")
    found = {}
    for name, weights in rows.items():
        judged = judge(top_k(weighted_sum(sources, weights), DEPTH), queries.qrels)
        values = (hits_at(judged, 5, BEST), reciprocal_rank(judged, BEST), ndcg_at(judged, 10))
        found[name] = values[2]
        cells = (bootstrap_interval(value, SEED, SAMPLES) for value in values)
        print(f"| {name} | " + " | ".join(f"{c.value:.3f} [{c.low:.3f}, {c.high:.3f}]" for c in cells) + " |")
    for other in ("text alone", "picture alone"):
        test = paired_bootstrap(found["both"], found[other], SEED, SAMPLES)
        print(f"\nnDCG@10, both - {other}: {test.difference:+.3f} [{test.low:+.3f}, {test.high:+.3f}]")


if __name__ == "__main__":
    main()
