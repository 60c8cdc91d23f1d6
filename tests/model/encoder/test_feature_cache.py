"""Picture features that are kept: killing their writer leaves no half file, deleting them changes no bit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.files import load_encoder, save_encoder
from components.encoder.model.towers.start import starting_model

ROOT = Path(__file__).parents[3]
# Writes features as a stage does, and waits in the middle of a shard.
WRITER = """
import sys, time
from pathlib import Path
import components.encoder.model.features.encode as encode
from tests.model.encoder.test_feature_cache import features
model, catalogue, cache = map(Path, sys.argv[1:])
plain, calls = encode.BatchEncoder.pixel_features, []
def slow(self, pixels):
    calls.append(1)
    if len(calls) == 2:  # a shard has one batch of 64 rows
        (cache / "in the middle").touch()
        time.sleep(60)
    return plain(self, pixels)
encode.BatchEncoder.pixel_features = slow
features(model, catalogue, cache)
"""


def features(model: Path, catalogue: Path, cache: Path) -> np.ndarray:
    """Features of every product, kept in ``cache``."""
    pixels = PixelCache(catalogue, 48, cache, threads=1)
    kept = FeatureCache(pixels, BatchEncoder(load_encoder(model), 8, "fp32"), cache)
    return kept.take(np.arange(len(kept)))


def test_killing_the_writer_and_deleting_the_cache_change_no_feature(
    shapes: Path, tiny: EncoderParams, tmp_path: Path
) -> None:
    start, catalogue = starting_model(tiny), shapes / "data/checked"
    save_encoder(start.encoder, start.tokenizer, tmp_path / "model")
    whole = features(tmp_path / "model", catalogue, tmp_path / "whole")
    cache = tmp_path / "killed"
    cache.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "model"), str(catalogue), str(cache)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not (cache / "in the middle").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    finished = list((cache / "features").glob("*.npy"))
    assert len(finished) == 1  # of three shards, the first
    assert np.array_equal(features(tmp_path / "model", catalogue, cache), whole)
    shutil.rmtree(cache)
    assert np.array_equal(features(tmp_path / "model", catalogue, cache), whole)


def test_a_second_pass_computes_nothing(shapes: Path, tiny: EncoderParams, tmp_path: Path) -> None:
    pixels = PixelCache(shapes / "data/checked", 48, tmp_path, threads=1)
    batch = BatchEncoder(starting_model(tiny), 8, "fp32")
    first = FeatureCache(pixels, batch, tmp_path)
    batch.encoder = None  # type: ignore[assignment]  # it must not be asked again
    again = FeatureCache(pixels, batch, tmp_path)
    rows = np.array([5, 159, 0, 5])
    assert np.array_equal(first.take(rows), again.take(rows)) and len(again) == 160
