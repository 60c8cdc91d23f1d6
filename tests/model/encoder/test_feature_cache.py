"""Picture features that are kept: killing their writer leaves no half file, deleting them changes no bit."""

from __future__ import annotations

import shutil
import signal
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.files import load_encoder, save_encoder
from components.encoder.model.towers.start import starting_model


def features(model: Path, catalogue: Path, cache: Path) -> np.ndarray:
    """Features of every product, kept in ``cache``."""
    pixels = PixelCache(catalogue, 48, cache, threads=1)
    kept = FeatureCache(pixels, BatchEncoder(load_encoder(model), 8, "fp32"), cache)
    return kept.take(np.arange(len(kept)))


def write_until_killed(model: Path, catalogue: Path, cache: Path) -> None:
    """Write features as a stage does, and wait in the middle of a shard."""
    torch.set_num_threads(1)
    plain, calls = BatchEncoder.pixel_features, list[int]()

    def slow(self: BatchEncoder, pixels: np.ndarray) -> Any:
        calls.append(1)
        if len(calls) == 2:  # a shard has one batch of 64 rows
            (cache / "in the middle").touch()
            time.sleep(60)
        return plain(self, pixels)

    BatchEncoder.pixel_features = slow  # type: ignore[method-assign]
    features(model, catalogue, cache)


def test_killing_the_writer_and_deleting_the_cache_change_no_feature(
    shapes: Path, tiny: EncoderParams, tmp_path: Path
) -> None:
    start, catalogue = starting_model(tiny), shapes / "data/checked"
    save_encoder(start.encoder, start.tokenizer, tmp_path / "model")
    whole = features(tmp_path / "model", catalogue, tmp_path / "whole")
    cache = tmp_path / "killed"
    cache.mkdir()
    arguments = (tmp_path / "model", catalogue, cache)
    process = get_context("fork").Process(target=write_until_killed, args=arguments)
    process.start()
    deadline = time.monotonic() + 120
    while not (cache / "in the middle").exists() and time.monotonic() < deadline:
        assert process.is_alive()
        time.sleep(0.02)
    process.kill()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    finished = list((cache / "features").glob("*.npy"))
    assert len(finished) == 1  # of three shards, the first
    assert np.array_equal(features(tmp_path / "model", catalogue, cache), whole)
    shutil.rmtree(cache)
    assert np.array_equal(features(tmp_path / "model", catalogue, cache), whole)


def test_shards_without_products_lie_between_others(
    shapes: Path, tiny: EncoderParams, tmp_path: Path
) -> None:
    shutil.copytree(shapes / "data/checked", tmp_path / "holes")
    shards = sorted((tmp_path / "holes/products").glob("part-*.parquet"))
    for place, shard in reversed(list(enumerate(shards))):  # an empty one before each, and one at the end
        shard.rename(shard.with_name(f"part-{2 * place + 1:05d}.parquet"))
    nothing = pq.read_table(shapes / "data/checked/products" / shards[0].name).slice(0, 0)
    for place in range(len(shards) + 1):
        pq.write_table(nothing, shards[0].with_name(f"part-{2 * place:05d}.parquet"))
    whole = PixelCache(shapes / "data/checked", 48, tmp_path / "whole", threads=1)
    holes = PixelCache(tmp_path / "holes", 48, tmp_path / "cache", threads=1)
    rows, batch = np.array([5, 159, 0, 64, 5]), BatchEncoder(starting_model(tiny), 8, "fp32")
    assert len(holes) == len(whole) == 160
    assert np.array_equal(holes.take(rows), whole.take(rows))
    expected = FeatureCache(whole, batch, tmp_path / "whole", grid=2)
    found = FeatureCache(holes, batch, tmp_path / "cache", grid=2)
    assert np.array_equal(found.take(rows), expected.take(rows))
    assert np.array_equal(found.grid_vectors(rows), expected.grid_vectors(rows))


def test_a_shard_is_read_once_for_its_key(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = PixelCache(shapes / "data/checked", 48, tmp_path, threads=1)
    first = [cache.key(shard) for shard in cache.shards]
    assert len(set(first)) == len(cache.shards) == 3

    def read(path: Path) -> str:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr("components.encoder.model.features.pixels.sha256_file", read)
    assert [cache.key(shard) for shard in cache.shards] == first


def test_a_second_pass_computes_nothing(shapes: Path, tiny: EncoderParams, tmp_path: Path) -> None:
    pixels = PixelCache(shapes / "data/checked", 48, tmp_path, threads=1)
    batch = BatchEncoder(starting_model(tiny), 8, "fp32")
    first = FeatureCache(pixels, batch, tmp_path)
    batch.encoder = None  # type: ignore[assignment]  # it must not be asked again
    again = FeatureCache(pixels, batch, tmp_path)
    rows = np.array([5, 159, 0, 5])
    assert np.array_equal(first.take(rows), again.take(rows)) and len(again) == 160
