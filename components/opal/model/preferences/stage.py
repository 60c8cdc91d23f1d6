"""Preference pairs: refined listings beside worse ones, each checked to be worse."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.opal.model.language.files import load_listing_model, read_note
from components.opal.model.language.pictures import catalogue_pixels, pictures_of
from components.opal.model.params import PreferencesParams
from components.opal.model.preferences.own_answers import OwnAnswers
from components.opal.model.preferences.pair_maker import PairMaker
from components.opal.model.preferences.pairs import PreferencePair, check_pairs, first_new, shared_out
from components.opal.model.writing.fitting import Fitting
from components.opal.model.writing.generate import Decoding, ListingGenerator
from components.opal.model.writing.ready_tokens import as_images
from components.stage.files.publish import published
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record
from components.stage.resources.memory import keep_few_kernels

PAIRS_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("product_id", "category", "prompt", "chosen", "rejected", "kind")]
    + [("checks", pa.list_(pa.string()))]
)


class Blocks(Params):
    """What the stage reads of params.yaml."""

    preferences: PreferencesParams


def write_pairs(pairs: Sequence[PreferencePair], folder: Path) -> None:
    """Publish ``pairs.parquet``, sorted by product and kind."""
    rows = [{**asdict(p), "checks": list(p.checks)} for p in pairs]
    rows.sort(key=lambda r: (r["product_id"], r["kind"], r["rejected"]))
    with published(folder) as temporary:
        temporary.mkdir(parents=True)
        table = pa.Table.from_pylist(rows, schema=PAIRS_SCHEMA)
        pq.write_table(table, temporary / "pairs.parquet", compression="zstd")


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Make the pairs of every kind and publish them."""
    keep_few_kernels()
    torch.set_num_threads(params.preferences.threads)
    pairs = _pairs(params.preferences, paths, record)
    check_pairs(pairs)
    write_pairs(pairs, paths.preferences)
    record.outputs = [str(paths.preferences)]
    kinds = Counter(pair.kind for pair in pairs)
    record.metrics |= {"pairs": float(len(pairs))} | {
        f"pairs_{k}": float(n) for k, n in sorted(kinds.items())
    }
    reasons = Counter(check.split(":")[0] for pair in pairs for check in set(pair.checks))
    record.metrics |= {f"checks_{json.dumps(k)[1:-1]}": float(n) for k, n in sorted(reasons.items())}


def _pairs(params: PreferencesParams, paths: Paths, record: Record) -> list[PreferencePair]:
    """Pairs of each kind, as many as its share asks for."""
    tuned = paths.listing / "sft_refined"
    model, note = load_listing_model(tuned), read_note(tuned)
    pictures = pictures_of(model.model, note, paths)
    first = as_images(model, pictures.take(np.zeros(1, dtype=np.int64)))[0]
    fitting = Fitting(model, first, note["max_new_tokens"])
    maker = PairMaker(paths.catalogue, paths.refined, paths.embeddings, note, params, fitting=fitting)
    counts = shared_out(params.pairs, params.shares.model_dump())
    limits = (params.batch_size, note["max_new_tokens"], note["precision"])
    sampling, greedy = (
        ListingGenerator(model, note, maker.schema, decoding)
        for decoding in (Decoding(*limits, params.temperature, params.top_p), Decoding(*limits))
    )
    pixels = catalogue_pixels(paths, note["image_px"], note["crop"])
    answers = OwnAnswers(sampling, greedy, pictures, pixels)
    pairs: list[PreferencePair] = []
    for kind in ("verified", "views", "corrected"):
        with record.timed(kind):
            if counts[kind]:
                pairs += first_new(maker.short(maker.own(kind, answers, counts[kind])), counts[kind], pairs)
    with record.timed("sampled"):
        if counts["sampled"]:
            sampled = maker.short(maker.sampled(sampling, pictures, counts["sampled"]))
            pairs += first_new(sampled, counts["sampled"], pairs)
    with record.timed("seller_and_swapped"):
        pairs += first_new(maker.short(maker.seller()), counts["seller"], pairs)
        pairs += first_new(maker.short(maker.swapped()), counts["swapped"], pairs)
    record.metrics["pairs_too_long"] = float(maker.too_long)
    return pairs
