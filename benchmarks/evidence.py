"""How well the evidence says whether a stated value is right.

``python -m benchmarks.evidence WORKSPACE [--split validation]`` reads the checked catalogue, the vectors, the
encoder, the truth and params.yaml of a workspace and prints accuracy, log-loss and AUC of "this stated value
is right" over (product, attribute, value) triples. Only this script reads the truth.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from components.catalog.format.attributes import Value, each, of_pairs

Triple = tuple[str, str, str]  # product, attribute, stated value
FLOOR = 1e-6  # of a probability, in the log-loss


def logit_support(split: str) -> dict[Triple, float]:
    """Probability of being right by the conditional logit, calibrated on validation listings."""
    from components.catalog.format.shards import Catalogue
    from components.encoder.model.features.encode import BatchEncoder
    from components.encoder.model.towers.files import load_encoder
    from components.evidence.calibration import calibrate
    from components.evidence.features import EvidenceReader
    from components.opal.refine.listings import listing_batches
    from components.opal.refine.observed import observe
    from components.opal.refine.params import RefineParams
    from components.stage.params import load_params
    from components.stage.paths import Paths

    params, paths = load_params("refine", RefineParams), Paths()
    support = params.support
    assert support is not None
    schema = Catalogue(paths.catalogue).schema
    found: dict[Triple, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        batches = list(listing_batches(paths.catalogue, paths.embeddings, params.batch_products))
        observed = observe(batches, schema, params, Path(scratch))
        encoder = BatchEncoder(load_encoder(paths.encoder), support.batch_size, support.precision)
        reader = EvidenceReader(encoder, observed, schema, support)
        listings = [listing for batch in batches for listing in batch]
        validation = [x for x in listings if x.split == "validation"][: support.calibration_products]
        calibration = calibrate(reader.read(validation), support.penalty, support.keep_above)
        asked = [x for x in listings if x.split == split]
        for e in reader.read(asked):
            right = calibration.weights(e.name).right(e)[np.arange(len(e.rows)), e.stated]
            for row, stated, p in zip(e.rows, e.stated, right, strict=True):
                found[asked[row].product_id, e.name, e.values[stated]] = float(p)
        observed.siblings.close()
    return found


def true_values() -> dict[tuple[str, str], Value]:
    """(product, attribute) to its true value."""
    from components.encoder.model.features.rows import read_truth
    from components.stage.paths import Paths

    return {
        (product, name): value
        for product, row in read_truth(Paths().truth).items()
        for name, value in of_pairs(row["attributes"]).items()
    }


def figures(p: Any, right: Any) -> dict[str, float]:
    """Accuracy at a half, log-loss, AUC and calibration error in ten bins, for probabilities ``p [N]``."""
    from sklearn.metrics import roc_auc_score

    p = np.clip(p, FLOOR, 1 - FLOOR)
    bins = np.minimum((p * 10).astype(int), 9)
    gaps = [abs(p[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in set(bins)]
    return {
        "accuracy": float(((p >= 0.5) == right).mean()),
        "log_loss": float(-np.where(right, np.log(p), np.log(1 - p)).mean()),
        "auc": float(roc_auc_score(right, p)),
        "calibration_error": float(sum(gaps)),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--split", default="validation", choices=["validation", "test"])
    asked = parser.parse_args()
    with contextlib.chdir(asked.workspace):
        truth, start = true_values(), time.perf_counter()
        found = logit_support(asked.split)
        seconds = time.perf_counter() - start
    known = sorted(t for t in found if t[:2] in truth)
    right = np.array([t[2] in each(truth[t[:2]]) for t in known])
    print(f"{len(known):,} stated values, {1 - right.mean():.1%} of them wrong, {seconds:.0f} s")
    row = figures(np.array([found[t] for t in known]), right)
    print(", ".join(f"{k} {v:.4f}" for k, v in row.items()))


if __name__ == "__main__":
    main()
